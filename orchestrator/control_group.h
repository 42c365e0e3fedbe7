#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "orchestrator/files.h"
#include "orchestrator/oom_kills.h"

namespace isosweep {

/// Where control groups with a memory limit can be made, one for each worker.
struct GroupHome {
    enum class Maker {
        ourselves,
        systemd,  ///< `systemd-run --user --scope` makes them
    };
    Maker maker = Maker::ourselves;
    int version = 2;               ///< of control groups: 1 or 2
    std::filesystem::path folder;  ///< the groups lie in it
};

/// The key `memory-limit`: what each worker with all that it starts may take of the host's memory.
struct MemoryLimit {
    std::int64_t bytes = 0;
    GroupHome home;
};

/// The control group for memory that process `pid` is in, ready to have groups below it. Version 2
/// allows none below a group that has processes itself: where `pid` is alone there, it is moved
/// into a group `isosweep-PID` below.
/// \throws std::runtime_error why there can be none
GroupHome own_group_home(pid_t pid, const OomKillCounter::Roots& roots = {});

/// Finds how this machine holds workers to a limit of `bytes`, and tries it: groups below our own,
/// else scopes of the user's systemd.
/// \throws EnvironmentError that names both reasons where neither works
MemoryLimit make_memory_limit(std::int64_t bytes, const OomKillCounter::Roots& roots = {});

/// The control group of one worker, named by its token. It goes with the object, and so does
/// everybody in it.
class ControlGroup {
  public:
    /// Makes the group with its limit; swap is none of it. Where systemd makes it, there is none
    /// before the `launcher` runs.
    /// \throws std::runtime_error "cannot make the control group FOLDER: reason"
    ControlGroup(const MemoryLimit& limit, const std::string& token);
    ControlGroup(const ControlGroup&) = delete;
    ControlGroup& operator=(const ControlGroup&) = delete;
    ~ControlGroup() { end(); }

    const std::filesystem::path& folder() const { return folder_; }
    const MemoryLimit& limit() const { return limit_; }

    /// The words in front of the worker's command; none where it enters by itself.
    std::vector<std::string> launcher() const;

    /// Open file to which a process writes "0" to enter; -1 where systemd moves it.
    int entry() const { return entry_.get(); }

    /// Lets the kernel kill all of the group where it kills one of it, as far as it can.
    void die_together() const;

    /// Counts the group's own OOM kills.
    OomKillCounter oom_kills() const;

    /// Whether it has been at its limit since it was made, so that an OOM kill in it is no want of
    /// memory elsewhere.
    bool was_at_limit() const;

    /// Kills who is in it, and removes it; nothing where it is gone.
    /// \returns whether it is gone: who is in the kernel for long keeps it
    bool end();

  private:
    void make(const std::string& file, const std::string& value, bool is_needed);
    /// The file that counts events of memory (version 2).
    std::filesystem::path events() const;

    MemoryLimit limit_;
    std::filesystem::path folder_;
    std::string unit_;  ///< systemd's name for it
    FileDescriptor entry_;
    std::int64_t at_limit_before_ = 0;
    bool ended_ = false;
};

/// Kills who is in a group that a killed run left behind, and removes it. Nothing where `folder` is
/// gone, is no control group or does not bear the token of one of our workers.
void end_leftover_group(const std::filesystem::path& folder, const std::string& token,
                        const OomKillCounter::Roots& roots = {});

/// The group of this worker, as its folder in `home` is called.
std::filesystem::path group_folder(const GroupHome& home, const std::string& token);

}  // namespace isosweep
