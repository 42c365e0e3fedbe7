#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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
    /// One that asks this file.
    static OomKillCounter in_file(const std::filesystem::path& file);

    /// Kills so far; absent where nobody tells.
    std::optional<std::int64_t> read() const;

    /// The file that is asked; empty for none.
    const std::filesystem::path& file() const { return file_; }

  private:
    std::filesystem::path file_;
};

/// A control group for memory.
struct MemoryGroup {
    int version = 2;               ///< of control groups: 1 or 2
    std::filesystem::path folder;  ///< its files lie there
};

/// The control groups that may hold a process' memory, the likeliest first: version 1 where memory
/// is under its control, else version 2. None where the process is gone.
std::vector<MemoryGroup> memory_groups(pid_t pid, const OomKillCounter::Roots& roots);

/// The number behind `name` in a file of names and numbers; absent where there is none.
std::optional<std::int64_t> number_behind(const std::string& name,
                                          const std::filesystem::path& file);

}  // namespace isosweep
