// Sweeps in a real Slurm on this machine: two nodes with one pretended GPU each. Skipped where
// there is no Slurm, or where it may not be started.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "orchestrator/journal.h"
#include "orchestrator/process.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;
namespace fs = std::filesystem;

TEST_SUITE_BEGIN("slurm");

namespace {

std::string output_of(const std::string& command) {
    // NOLINTNEXTLINE(bugprone-command-processor)
    FILE* const pipe = ::popen((command + " 2>/dev/null").c_str(), "re");
    std::string text;
    std::array<char, 4096> buffer{};
    for (std::size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
        text.append(buffer.data(), got);
    ::pclose(pipe);
    return text;
}

/// This machine is slow and shared: what is waited for comes, or something is wrong.
void wait_for(const std::function<bool()>& true_now) {
    for (int i = 0; i < 900 && !true_now(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    REQUIRE(true_now());
}

/// A Slurm that lives as long as this.
class Cluster {
  public:
    Cluster() {
        is_up_ = shell(script("start"));
        ::setenv("SLURM_CONF", (folder_ / "slurm.conf").c_str(), 1);
    }
    ~Cluster() { stop(); }
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;
    bool is_up() const { return is_up_; }

  private:
    std::string script(const std::string& word) const {
        return std::string(TESTS_DIR "/slurm_cluster.sh ") + word + " " + folder_.path().string();
    }
    void stop() const {
        if (!shell(script("stop"))) MESSAGE("the cluster could not be stopped");
    }
    TempFolder folder_;
    bool is_up_ = false;
};

/// Whether a test can use the cluster, which the first one starts.
bool has_cluster() {
    ::setenv("PATH", (std::string(std::getenv("PATH")) + ":/usr/sbin:/sbin").c_str(), 1);
    for (const char* const program : {"srun", "slurmctld", "slurmd", "munged"})
        if (find_program(program).empty()) {
            MESSAGE("skipped: no ", program, " here (packages slurm-wlm and munge)");
            return false;
        }
    if (::geteuid() != 0) {
        MESSAGE("skipped: only root can start a Slurm of its own");
        return false;
    }
    static const Cluster cluster;
    REQUIRE(cluster.is_up());
    return true;
}

const std::string launcher =
    "device = cpu\nretry = none\n"
    "launcher = srun -N1 -n1 --gpus-per-task=1 --mem=64 --time=5\n";

std::string jobs() { return output_of("squeue --noheader --format='%A %T'"); }
std::string field(const std::string& format) {
    std::string text = output_of("squeue --noheader --states=R --format=" + format);
    return text.substr(0, text.find('\n'));
}
bool is_empty_again() { return jobs().empty(); }

/// Whether the task of a cell `hold_once` runs and hangs.
bool holds(const Sandbox& sandbox) {
    return fs::exists(sandbox.path("seen-hold_once")) &&
           contains(sandbox.file("results/x/journal.jsonl"), "hold_once");
}

/// Processes of the sandbox' workers that are alive.
std::size_t workers(const Sandbox& sandbox) {
    const std::string mark = "FAKE_WORKER_DIR=" + sandbox.path("").parent_path().string();
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        std::string name;
        std::getline(std::ifstream(entry.path() / "comm"), name);
        if (name != "fake-worker") continue;
        std::ifstream stream(entry.path() / "environ");
        const std::string environment{std::istreambuf_iterator<char>(stream), {}};
        if (contains(environment, mark)) ++count;
    }
    return count;
}

/// A cell that hangs until something takes it away, which is run again then.
void check_taken_away(const std::function<void()>& take, const std::string& reason) {
    Sandbox sandbox(launcher + "axis.behaviour = hold_once\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    wait_for([&] { return holds(sandbox); });
    take();
    const Ran ran = sandbox.wait(pid);
    CAPTURE(ran.err);
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.err, "taken away by the cluster: " + reason));
    CHECK(sandbox.column("status") == "ok");
    CHECK(sandbox.column("attempts") == "1");
    CHECK(sandbox.column("failed_attempts") == "0");
}

}  // namespace

TEST_CASE("Slurm places and queues; waiting does not count against timeout") {
    if (!has_cluster()) return;
    Sandbox sandbox(launcher +
                    "axis.behaviour = slow:4000, slow:4001, slow:4002, crash:11, exit:7\n"
                    "jobs = 5\nstart-timeout = 1s\n");
    const Ran ran = sandbox.sweep({"--timeout", "7s"});
    CAPTURE(ran.err);
    CHECK(ran.exit_code == 1);
    CHECK(sandbox.column("status") == "ok ok ok crash error");
    CHECK(sandbox.column("signal") == "   SIGSEGV ");
    wait_for(is_empty_again);
}

TEST_CASE("a cancelled, preempted or lost task is run again and no failure") {
    if (!has_cluster()) return;
    check_taken_away([] { output_of("scancel " + field("%A")); }, "cancelled");
    check_taken_away([] { output_of("timeout 30 srun -p urgent -N2 --exclusive true"); }, "");
    check_taken_away(
        [] {
            const std::string node = field("%N");
            output_of("scontrol update nodename=" + node + " state=down reason=test");
            wait_for([] { return field("%N").empty(); });
            output_of("scontrol update nodename=" + node + " state=resume");
        },
        "its node failed");
}

TEST_CASE("a task over timeout is ended in the cluster, too") {
    if (!has_cluster()) return;
    Sandbox sandbox(launcher + "axis.behaviour = hang\n");
    CHECK(sandbox.sweep({"--timeout", "1s"}).exit_code == 1);
    CHECK(sandbox.column("status") == "timeout");
    wait_for(is_empty_again);
    CHECK(workers(sandbox) == 0);
}

TEST_CASE("of a killed sweep no task stays, running or waiting") {
    if (!has_cluster()) return;
    Sandbox sandbox(launcher + "axis.behaviour = hang:1, hang:2, hang:3, hang:4\njobs = 4\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    wait_for([&] { return workers(sandbox) == 2 && contains(jobs(), "PENDING"); });
    ::kill(pid, SIGKILL);
    sandbox.wait(pid);
    wait_for(is_empty_again);
    wait_for([&] { return workers(sandbox) == 0; });
}

TEST_CASE("after Ctrl-C what waits is given up, and what runs may finish") {
    if (!has_cluster()) return;
    Sandbox sandbox(launcher + "axis.behaviour = slow:3000, slow:3001, slow:3002\njobs = 3\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    wait_for([&] { return workers(sandbox) == 2 && contains(jobs(), "PENDING"); });
    ::kill(pid, SIGINT);
    CHECK(sandbox.wait(pid).signal == SIGINT);
    std::istringstream statuses(sandbox.column("status"));
    std::map<std::string, int> counts;
    for (std::string status; statuses >> status;) ++counts[status];
    CHECK(counts == std::map<std::string, int>{{"interrupted", 1}, {"ok", 2}});
    wait_for(is_empty_again);
    CHECK(sandbox.sweep().exit_code == 0);
}

TEST_CASE("an orphan of a killed sweep is cancelled by the next") {
    if (!has_cluster()) return;
    Sandbox sandbox(launcher + "axis.behaviour = hold_once\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    wait_for([&] { return holds(sandbox); });
    // Both processes of srun at once, and nobody to see it: Slurm does not notice.
    ::kill(pid, SIGSTOP);
    const Journal journal = Journal::read(sandbox.path("results/x/journal.jsonl"));
    REQUIRE(journal.workers().size() == 1);
    ::kill(-static_cast<pid_t>(journal.workers().begin()->second.pid), SIGKILL);
    ::kill(pid, SIGKILL);
    sandbox.wait(pid);
    CHECK(workers(sandbox) == 1);
    const Ran ran = sandbox.sweep();
    CAPTURE(ran.err);
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.err, "cancelled what an earlier run of this sweep left in the cluster"));
    CHECK(sandbox.column("status") == "ok");
    CHECK(workers(sandbox) == 0);
}

TEST_CASE("within an allocation the cells are its steps, one for each GPU") {
    if (!has_cluster()) return;
    Sandbox sandbox(
        "device = cpu\njobs = 2\naxis.behaviour = ok, slow:300, slow:301, crash:11\nretry = none\n"
        "launcher = srun -N1 -n1 --gpus-per-task=1 --exact --mem=64 --time=5\n");
    const Ran ran = sandbox.wait(
        sandbox.start_program({find_program("salloc"), "-N2", "-n2", "--gpus-per-task=1",
                               "--mem=256", ISOSWEEP_PROGRAM, "run", "x.cfg"}));
    CAPTURE(ran.err);
    CHECK(sandbox.column("status") == "ok ok ok crash");
    wait_for(is_empty_again);
}

TEST_SUITE_END();

TEST_SUITE_BEGIN("real slurm");

TEST_CASE("the real worker measures in Slurm, on the CPU") {
    const char* const worker = std::getenv("ISOSWEEP_WORKER");
    REQUIRE(worker);
    if (!has_cluster()) return;
    Sandbox sandbox(
        "device = cpu\njobs = 2\ncontext-length = 8, 16\nbatch-size = 1\nwarmup-steps = 1\n"
        "measure-steps = 3\nlauncher = srun -N1 -n1 --gpus-per-task=1 --mem=1G --time=5\n",
        worker);
    const Ran ran = sandbox.sweep({"--timeout", "60s"});
    CAPTURE(ran.err);
    CHECK(ran.exit_code == 0);
    CHECK(sandbox.column("status") == "ok ok");
    CHECK(sandbox.column("num_params") == "3084928 3084928");
    wait_for(is_empty_again);
}

TEST_SUITE_END();
