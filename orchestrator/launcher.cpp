#include "orchestrator/launcher.h"

#include <isosweep/text.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>

#include "orchestrator/log.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

bool has(std::string_view line, std::string_view part) {
    return line.find(part) != std::string_view::npos;
}

/// Whether a line is Slurm's own and not the worker's.
bool is_slurms(std::string_view line) {
    return line.starts_with("srun: ") || line.starts_with("slurmstepd");
}

/// How a line says that the worker was taken away; empty where it does not.
std::string loss_in(std::string_view line) {
    if (has(line, "DUE TO TIME LIMIT")) return "the cluster's time limit was reached";
    if (has(line, "DUE TO PREEMPTION")) return "preempted";
    if (has(line, "DUE TO NODE FAILURE") || has(line, "Node failure on")) return "its node failed";
    if (has(line, "CANCELLED AT") || has(line, "Job has been cancelled") ||
        has(line, "has been revoked"))
        return "cancelled";
    return {};
}

/// Whether a line says that the worker died of the signals that Slurm itself ends tasks with.
bool is_end_by_slurm(std::string_view line) {
    return line.ends_with(": Terminated") || line.ends_with(": Killed");
}

/// A cancelled step is told twice, and only one of the two lines may say why.
bool says_more(const std::string& loss, const std::string& than) {
    return than.empty() || (than == "cancelled" && !loss.empty());
}

bool lacks_memory(std::string_view line) {
    return has(line, "oom-kill event") || has(line, "oom_kill event") ||
           has(line, "Out Of Memory") ||
           (has(line, "exceeded") && has(line, "memory limit") && has(line, "being killed"));
}

/// A program of Slurm, from where `srun` is.
std::string beside(const std::string& srun, const std::string& program) {
    return shell_quoted((fs::path(srun).parent_path() / program).string());
}

/// What a command prints; nothing where it fails: it says why on stderr itself.
std::optional<std::string> output_of(const std::string& command) {
    // The words are ours, or quoted.
    // NOLINTNEXTLINE(bugprone-command-processor)
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "re"), ::pclose);
    if (!pipe) return std::nullopt;
    std::string text;
    std::array<char, 4096> buffer{};
    for (std::size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) > 0;)
        text.append(buffer.data(), got);
    return text;
}

/// "ID NAME" of the user's jobs and, within an allocation, of its steps.
std::string list_tasks(const std::string& srun) {
    const std::string squeue = beside(srun, "squeue") + " --noheader ";
    std::string listed = output_of(squeue + "--me --format='%A %j'").value_or("");
    if (const char* const allocation = std::getenv("SLURM_JOB_ID"))
        listed +=
            output_of(squeue + "--steps --jobs=" + shell_quoted(allocation) + " --format='%i %j'")
                .value_or("");
    return listed;
}

/// At once and not after KillWait. One bad id would spoil a common call.
void cancel(const std::string& srun, const ClusterTask& task) {
    const std::string scancel = beside(srun, "scancel") + " --quiet ";
    const bool is_step = has(task.id, ".");
    output_of(scancel + "--signal=KILL " + shell_quoted(is_step ? task.id : task.id + ".0") +
              " 2>/dev/null");
    output_of(scancel + shell_quoted(task.id) + " 2>/dev/null");
}

}  // namespace

LaunchTraits traits_of(const std::vector<std::string>& launcher) {
    LaunchTraits traits;
    if (launcher.empty()) return traits;
    traits.kind = LauncherKind::plain;
    if (fs::path(launcher[0]).filename() != "srun") return traits;
    traits.kind = LauncherKind::slurm;
    traits.ties = {.death_signal = SIGTERM,
                   .own_session = true,
                   .patience = std::chrono::seconds(10),
                   .farewell = std::chrono::seconds(2)};
    return traits;
}

std::vector<std::string> launched_argv(std::vector<std::string> argv, const LaunchTraits& traits,
                                       const std::string& token) {
    if (traits.is_cluster()) argv.insert(argv.begin() + 1, "--job-name=" + token);
    return argv;
}

bool asks_for_gpu(const std::vector<std::string>& launcher) {
    return std::any_of(launcher.begin(), launcher.end(), [](const std::string& word) {
        return word.starts_with("-G") ||
               (word.starts_with("--") && (has(word, "gpu") || has(word, "gres")));
    });
}

LauncherVerdict read_verdict(const LaunchTraits& traits, std::string_view printed,
                             const ProcessEnd& end, bool answered) {
    LauncherVerdict verdict;
    bool is_aborted = false;
    bool is_ended_by_slurm = false;
    if (!traits.is_cluster()) return verdict;
    std::istringstream lines{std::string(printed)};
    for (std::string line; std::getline(lines, line);) {
        if (!is_slurms(line)) continue;
        if (const std::string loss = loss_in(line); says_more(loss, verdict.taken_away))
            verdict.taken_away = loss;
        verdict.out_of_memory = verdict.out_of_memory || lacks_memory(line);
        is_aborted = is_aborted || has(line, "Job step aborted");
        is_ended_by_slurm = is_ended_by_slurm || is_end_by_slurm(line);
    }
    // A worker that dies of the cancelling at once may do so before its node has told why.
    if (verdict.taken_away.empty() && is_aborted && is_ended_by_slurm)
        verdict.taken_away = "cancelled";
    // Of a step that lacked memory Slurm may say that it was cancelled, too.
    if (verdict.out_of_memory) verdict.taken_away.clear();
    if (verdict.taken_away.empty() && !verdict.out_of_memory && !answered &&
        end == ProcessEnd(Exited{0}))
        verdict.taken_away = "it ended with exit code 0 and no result";
    return verdict;
}

std::vector<ClusterTask> tasks_of(const Journal& journal, std::string_view listed) {
    std::vector<ClusterTask> tasks;
    std::istringstream lines{std::string(listed)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        ClusterTask task;
        words >> task.id >> task.token;
        const WorkerRecord* const worker = journal.worker(task.token);
        if (worker && worker->origin.empty()) tasks.push_back(std::move(task));
    }
    return tasks;
}

std::vector<ClusterTask> cancel_leftovers(const Journal& journal,
                                          const std::vector<std::string>& launcher) {
    if (!traits_of(launcher).is_cluster() || journal.workers().empty()) return {};
    const std::string srun = find_program(launcher[0]);
    const std::vector<ClusterTask> found = tasks_of(journal, list_tasks(srun));
    std::vector<ClusterTask> left = found;
    constexpr int looks = 60;
    for (int look = 0; !left.empty() && look < looks; ++look) {
        for (const ClusterTask& task : left) cancel(srun, task);
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        left = tasks_of(journal, list_tasks(srun));
    }
    if (!left.empty())
        log::warning("the cluster still shows a task of an earlier run, which may hold its slot: " +
                     left[0].id);
    return found;
}

}  // namespace isosweep
