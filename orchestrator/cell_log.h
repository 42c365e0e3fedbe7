#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "orchestrator/files.h"

namespace isosweep {

/// What a worker printed during one attempt at a cell: cells/KEY/attempt-N.log. The head is written
/// at once, so that it survives us; of what is longer, the tail is kept too and the middle left
/// out.
class CellLog {
  public:
    static constexpr std::size_t head_bytes = std::size_t{1} << 20;
    static constexpr std::size_t tail_bytes = std::size_t{1} << 20;

    /// The file is created with the first byte, so that a quiet cell leaves none.
    explicit CellLog(std::filesystem::path file, bool also_to_terminal = false)
        : file_(std::move(file)), also_to_terminal_(also_to_terminal) {}

    /// A log that cannot be written costs nobody a result: it ends there, and `problem` says so.
    void write(std::string_view bytes);

    /// Writes the tail. Nothing may be written after it.
    void close();

    /// Why the log is not whole; empty if it is.
    const std::string& problem() const { return problem_; }

    /// The last text that a person would look at, on one line.
    std::string last_words() const;

    const std::filesystem::path& file() const { return file_; }

  private:
    /// Writes what is of the head. \throws ResultsError
    void write_head(std::string_view bytes);
    /// \throws ResultsError
    void write_tail();

    std::filesystem::path file_;
    bool also_to_terminal_;
    std::string problem_;
    FileDescriptor fd_;
    std::uint64_t total_ = 0;
    std::string tail_;  ///< the last bytes, from `tail_bytes` up to twice as many
};

}  // namespace isosweep
