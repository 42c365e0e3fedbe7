// Whole sweeps behind commands that people put in front of a worker, and in shards.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "orchestrator/process.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;
namespace fs = std::filesystem;

TEST_SUITE_BEGIN("sweep");

namespace {

const std::string cells = "axis.behaviour = ok, crash:11, exit:7\nretry = none\n";

/// Runs the three cells behind a prefix.
void check_launcher(const std::string& prefix) {
    CAPTURE(prefix);
    Sandbox sandbox(cells + "launcher = " + prefix + "\n");
    // Whoever preloads a library, as stdbuf does, comes before the address sanitizer's.
    sandbox.set_variable("ASAN_OPTIONS=verify_asan_link_order=0");
    const Ran ran = sandbox.sweep();
    CAPTURE(ran.err);
    CHECK(sandbox.column("status") == "ok crash error");
    CHECK(sandbox.column("signal") == " SIGSEGV ");
}

/// An OpenSSH server of this user's on a port of 127.0.0.1, as long as this lives.
class SshServer {
  public:
    SshServer() {
        const std::string folder = folder_.path().string();
        run("ssh-keygen -q -t ed25519 -N '' -f " + folder + "/key");
        run("cp " + folder + "/key.pub " + folder + "/keys");
        std::ofstream(folder_ / "sshd_config")
            << "Port " << port_ << "\nListenAddress 127.0.0.1\nHostKey " << folder
            << "/key\nAuthorizedKeysFile " << folder << "/keys\nPidFile " << folder
            << "/pid\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n";
        run("mkdir -p /run/sshd && /usr/sbin/sshd -f " + folder + "/sshd_config");
    }
    ~SshServer() {
        run("kill $(cat " + (folder_ / "pid").string() + ")");
        // A worker that hangs does not see that its connection is gone, and stays.
        run("for process in /proc/[0-9]*; do grep -qz '^SSH_CLIENT=127.0.0.1 [0-9]* " +
            std::to_string(port_) +
            "$' $process/environ 2>/dev/null && kill -9 ${process#/proc/}; done; true");
    }
    SshServer(const SshServer&) = delete;
    SshServer& operator=(const SshServer&) = delete;

    std::string command() const {
        const std::string folder = folder_.path().string();
        return "ssh -F none -p " + std::to_string(port_) + " -i " + folder +
               "/key -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR "
               "-o UserKnownHostsFile=" +
               folder + "/known 127.0.0.1";
    }
    bool answers() const {
        for (int i = 0; i < 50; ++i)
            if (shell(command() + " true 2>/dev/null"))
                return true;
            else
                std::this_thread::sleep_for(std::chrono::milliseconds(100));
        return false;
    }

  private:
    static void run(const std::string& command) {
        if (!shell(command)) MESSAGE("failed: ", command);
    }
    TempFolder folder_;
    int port_ = 30000 + static_cast<int>(::getpid() % 10000);
};

}  // namespace

TEST_CASE("any command that hands the streams on can be put in front of the worker") {
    for (const char* const prefix : {"env A=b", "nice -n 1", "stdbuf -oL", "sh -c 'exec \"$@\"' x"})
        check_launcher(prefix);
    if (find_program("numactl").empty())
        MESSAGE("numactl is not here");
    else
        check_launcher("numactl --localalloc");
}

TEST_CASE("what a profiler prints on stdout is noise, counted and kept in the log") {
    Sandbox sandbox("axis.behaviour = ok\nlauncher = sh ./profiler\n");
    std::ofstream(sandbox.path("profiler"))
        << "echo 'Collecting data...'\n\"$@\"\ncode=$?\n"
           "echo 'Generating report: 100%'\necho 'Generated: /tmp/report'\nexit $code\n";
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("status") == "ok");
    CHECK(sandbox.column("noise_lines") == "3");
}

TEST_CASE("a worker can be reached by ssh") {
    if (::geteuid() != 0 || !fs::exists("/usr/sbin/sshd") || find_program("ssh").empty()) {
        MESSAGE("no OpenSSH server here that this user could start");
        return;
    }
    const SshServer server;
    REQUIRE(server.answers());
    Sandbox sandbox("axis.behaviour = ok, exit:7\nretry = none\nlauncher = " + server.command() +
                    "\n");
    const Ran ran = sandbox.sweep();
    CAPTURE(ran.err);
    CHECK(sandbox.column("status") == "ok error");
    Sandbox hanging("axis.behaviour = silent\nlauncher = " + server.command() + "\n");
    CHECK(hanging.sweep({"--timeout", "500ms"}).exit_code == 1);
    CHECK(hanging.column("status") == "timeout");
}

TEST_CASE("shards of a sweep go on like sweeps, and merge joins them") {
    Sandbox sandbox("axis.behaviour = ok\ncontext-length = 16, 32, 64, 128, 256\n");
    for (const char* const shard : {"1/2", "2/2", "2/2"})
        CHECK(sandbox.run({"shard", shard, "x.cfg"}).exit_code == 0);
    CHECK(sandbox.answers() == 5);
    CHECK(sandbox.column("context_length", "results/x.shard-1-of-2.csv") == "256");
    CHECK(sandbox.column("context_length", "results/x.shard-2-of-2.csv") == "16 32 64 128");
    CHECK(sandbox
              .run({"merge", "results/x.shard-1-of-2.csv", "results/x.shard-2-of-2.csv", "--output",
                    "results/x.csv"})
              .exit_code == 0);
    const Ran whole = sandbox.sweep();
    CHECK(whole.exit_code == 0);
    CHECK(contains(whole.err, "nothing to run"));
    CHECK(sandbox.column("context_length") == "16 32 64 128 256");
}

TEST_CASE("a shard that was cut short says how it goes on") {
    Sandbox sandbox("axis.behaviour = hang\n");
    const pid_t pid = sandbox.start({"shard", "1/1", "x.cfg"});
    sandbox.wait_until([&] {
        return fs::exists(sandbox.path("results/x.shard-1-of-1/journal.jsonl")) &&
               contains(sandbox.file("results/x.shard-1-of-1/journal.jsonl"), "\"start\"");
    });
    ::kill(pid, SIGINT);
    sandbox.wait_until([&] { return contains(sandbox.file("err.txt"), "once more kills it"); });
    ::kill(pid, SIGINT);
    CHECK(contains(sandbox.wait(pid).err, " shard 1/1 x.cfg\n"));
    for (const char* const wrong : {"3/2", "0/2", "2", "a/b", "1/"}) {
        const Ran ran = sandbox.run({"shard", wrong, "x.cfg"});
        CHECK(ran.exit_code == 2);
        CHECK(contains(ran.err, std::string("shard '") + wrong + "': expected which shard of how"));
    }
}

TEST_SUITE_END();
