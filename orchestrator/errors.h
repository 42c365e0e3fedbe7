#pragma once

#include <stdexcept>

namespace isosweep {

/// What ends `isosweep` with a code of its own. `what()` is one line: what, where, what to do.
class Failure : public std::runtime_error {
  public:
    int exit_code() const { return exit_code_; }

  protected:
    Failure(int exit_code, const std::string& line)
        : std::runtime_error(line), exit_code_(exit_code) {}

  private:
    int exit_code_;
};

/// Usage, a config, or a journal of another setting.
struct UsageError : Failure {
    explicit UsageError(const std::string& line) : Failure(2, line) {}
};
/// Another run holds this output.
struct LockedError : Failure {
    explicit LockedError(const std::string& line) : Failure(3, line) {}
};
/// Results cannot be written or read.
struct ResultsError : Failure {
    explicit ResultsError(const std::string& line) : Failure(4, line) {}
};
/// The machine lacks what the sweep needs: a worker, a GPU, the protocol's version.
struct EnvironmentError : Failure {
    explicit EnvironmentError(const std::string& line) : Failure(5, line) {}
};

}  // namespace isosweep
