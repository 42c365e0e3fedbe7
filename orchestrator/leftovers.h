#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "orchestrator/control_group.h"
#include "orchestrator/journal.h"

namespace isosweep {

/// A process that an earlier run of this sweep left behind.
struct Leftover {
    pid_t pid = 0;
    std::string name;  ///< as /proc/PID/comm has it
};

/// Kills what earlier runs of this sweep left behind, and waits until it is gone, at most some
/// seconds; control groups of workers are removed with all that is in them. A leftover is known by
/// the token that every worker of this journal has in its environment and hands on to its children,
/// or, where the environment was wiped, by process id and start time of a worker; never by name.
/// Call it with the sweep's lock held: then no run of it lives that could own them. \returns what
/// was found
std::vector<Leftover> kill_leftovers(const Journal& journal,
                                     const std::optional<MemoryLimit>& limit);

}  // namespace isosweep
