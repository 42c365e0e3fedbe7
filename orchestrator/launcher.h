#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/process.h"

namespace isosweep {

/// Who puts the worker where it runs.
enum class LauncherKind {
    none,   ///< nobody: the process is the worker
    plain,  ///< a command that starts it on this machine, or hands its streams on
    slurm,  ///< srun: Slurm places and queues it, and may take it away
};

/// What differs between the commands that may stand in front of a worker.
struct LaunchTraits {
    LauncherKind kind = LauncherKind::none;
    ProcessTies ties;

    /// Exit code 128 + n may stand for a signal, and this machine's counters say nothing of the
    /// worker.
    bool is_launched() const { return kind != LauncherKind::none; }
    bool is_cluster() const { return kind == LauncherKind::slurm; }
};

/// The traits of a prefix, by its program's name: `srun` is Slurm, any other one is plain.
LaunchTraits traits_of(const std::vector<std::string>& launcher);

/// The command that starts a worker. Slurm's job, or its step within an allocation, bears the
/// worker's token as its name; a `--job-name` of the user's comes later and wins.
std::vector<std::string> launched_argv(std::vector<std::string> argv, const LaunchTraits& traits,
                                       const std::string& token);

/// Whether the words of a cluster's prefix ask for a GPU: what `device = auto` means behind it.
bool asks_for_gpu(const std::vector<std::string>& launcher);

/// What a launcher says became of its worker.
struct LauncherVerdict {
    std::string taken_away;      ///< how the cluster took it, for a person; empty: it did not
    bool out_of_memory = false;  ///< its memory limit in the cluster killed it
};

/// Reads what Slurm says: its lines on stderr first (they are `srun: ` and `slurmstepd-HOST: `),
/// the exit code second, since a failed node exits 0. Texts of Slurm 22.05. A pure function.
/// \param answered whether the worker has sent a result: an exit with 0 is then none of a lost node
LauncherVerdict read_verdict(const LaunchTraits& traits, std::string_view printed,
                             const ProcessEnd& end, bool answered);

/// A job or a step of the cluster.
struct ClusterTask {
    std::string id;     ///< "17", or "17.3" for a step
    std::string token;  ///< its name
    bool operator==(const ClusterTask&) const = default;
};

/// Those lines "ID NAME" of squeue whose name is the token of a worker in this journal. A pure
/// function.
std::vector<ClusterTask> tasks_of(const Journal& journal, std::string_view listed);

/// Cancels the jobs and steps that earlier runs of this sweep left in the cluster, waiting ones
/// too, and waits until they are gone, at most half a minute. Does nothing where the prefix is no
/// cluster's. Call it with the sweep's lock held. \returns what was found
std::vector<ClusterTask> cancel_leftovers(const Journal& journal,
                                          const std::vector<std::string>& launcher);

}  // namespace isosweep
