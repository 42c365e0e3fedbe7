#pragma once

#include <string>
#include <string_view>

namespace isosweep {

/// The program's standard output, taken over for results alone: what any library writes to stdout
/// from then on goes to stderr. Make one, early in main.
class ResultOutput {
  public:
    /// \throws std::system_error
    ResultOutput();
    ~ResultOutput();
    ResultOutput(const ResultOutput&) = delete;
    ResultOutput& operator=(const ResultOutput&) = delete;

    /// Writes all of it at once. \throws std::system_error where the reader has gone, say
    void write(std::string_view text);

    /// What is written instead of nothing if the program is terminated (an exception thrown while
    /// another unwinds, say); it then exits with 70. Empty: nothing. Installs the handler.
    void set_last_words(std::string line);

  private:
    int fd_;
};

}  // namespace isosweep
