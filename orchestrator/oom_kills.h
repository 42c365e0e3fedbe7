#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace isosweep {

/// Where the kernel counts the processes that it killed because memory ran out, for one process: in
/// its own control group (version 2 or 1), else for the whole machine.
class OomKillCounter {
  public:
    /// The file systems to ask; a test has its own.
    struct Roots {
        std::filesystem::path proc = "/proc";
        std::filesystem::path cgroup = "/sys/fs/cgroup";
    };

    OomKillCounter() = default;  ///< counts nothing
    OomKillCounter(pid_t pid, const Roots& roots);
    explicit OomKillCounter(pid_t pid) : OomKillCounter(pid, Roots()) {}

    /// Kills so far; absent where nobody tells.
    std::optional<std::int64_t> read() const;

    /// The file that is asked; empty for none.
    const std::filesystem::path& file() const { return file_; }

  private:
    std::filesystem::path file_;
};

}  // namespace isosweep
