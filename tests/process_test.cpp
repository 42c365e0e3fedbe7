#include "orchestrator/process.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <optional>

#include "temp_folder.h"

using namespace isosweep;
using isosweep::tests::TempFolder;

namespace {

/// Runs a shell script to its end and keeps what it said.
struct Shell {
    std::string out;
    std::string err;
    std::optional<ProcessEnd> end;
    pid_t pid = 0;

    explicit Shell(const std::string& script, const std::string& input = "",
                   const std::vector<std::string>& environment = {"PATH=/usr/bin:/bin"},
                   int signal_after_first_byte = 0, const Placement& placement = {}) {
        boost::asio::io_context io;
        std::shared_ptr<Process> process;
        process = Process::spawn(io, {"sh", "-c", script}, environment,
                                 {.on_stdout =
                                      [&](std::string_view bytes) {
                                          if (out.empty() && signal_after_first_byte != 0)
                                              process->signal_group(signal_after_first_byte);
                                          out += bytes;
                                      },
                                  .on_stderr = [&](std::string_view bytes) { err += bytes; },
                                  .on_stdout_end = {},
                                  .on_end = [&](const ProcessEnd& how) { end = how; }},
                                 -1, placement);
        pid = process->pid();
        process->write(input);
        process->close_stdin();
        io.run();
    }
};

/// Whether a process ends before long: gone, or a zombie that nobody has reaped yet.
bool soon_gone(pid_t pid) {
    for (int i = 0; i < 1000; ++i) {
        const std::string stat = tests::file_contents("/proc/" + std::to_string(pid) + "/stat");
        if (stat.empty() || stat.find(") Z ") != std::string::npos) return true;
        ::usleep(5'000);
    }
    return false;
}

}  // namespace

TEST_CASE("a process runs and takes its memory where it is placed") {
    const CpuList ours = affinity_of(0);
    REQUIRE_FALSE(ours.empty());
    Placement placement;
    placement.cpus = {ours.back()};
    const bool may_prefer = may_prefer_memory_of(0);
    if (may_prefer) placement.memory_node = 0;
    const Shell shell("grep Cpus_allowed_list /proc/self/status; cat /proc/self/numa_maps", "",
                      {"PATH=/usr/bin:/bin"}, 0, placement);
    CHECK(shell.out.starts_with("Cpus_allowed_list:\t" + to_text(placement.cpus) + "\n"));
    if (may_prefer) CHECK(shell.out.find(" prefer:0 ") != std::string::npos);
    CHECK(affinity_of(0) == ours);
}

TEST_CASE("a child gets its input, and both its streams are read to the end") {
    const Shell shell("cat; echo err >&2; exit 3", std::string(300'000, 'x'));
    CHECK(shell.out.size() == 300'000);
    CHECK(shell.err == "err\n");
    CHECK(*shell.end == ProcessEnd(Exited{3}));
}

TEST_CASE("a signal is told from an exit code") {
    CHECK(*Shell("kill -SEGV $$").end == ProcessEnd(Signaled{SIGSEGV}));
    CHECK(*Shell("exit 139").end == ProcessEnd(Exited{139}));
    CHECK(*Shell("kill -9 $$").end == ProcessEnd(Signaled{SIGKILL}));
}

TEST_CASE("a child has a group of its own, default signals, and only three descriptors") {
    ::signal(SIGPIPE, SIG_IGN);
    const Shell shell(
        "ls /proc/self/fd | tr '\\n' ' '; grep -E 'SigBlk|SigIgn' /proc/self/status; "
        "ps -o pgid= -p $$");
    // The fourth is ls' own, for the folder.
    CHECK(shell.out.starts_with("0 1 2 3 "));
    CHECK(shell.out.find("SigBlk:\t0000000000000000") != std::string::npos);
    // glibc keeps two signals for itself (32 and 33), which make leaves ignored: they stay so.
    const std::string ignored = shell.out.substr(shell.out.find("SigIgn:\t") + 8, 16);
    CHECK((std::stoull(ignored, nullptr, 16) & 0x7FFFFFFFU) == 0);
    CHECK(shell.out.find(std::to_string(shell.pid)) != std::string::npos);
}

TEST_CASE("a child sees exactly the environment that it is given") {
    CHECK(Shell("echo $A-$HOME", "", {"A=1", "PATH=/usr/bin:/bin"}).out == "1-\n");
}

TEST_CASE("a signal to the group reaches grandchildren, and what a child leaves behind is killed") {
    CHECK(*Shell("sleep 100 & echo x; wait", "", {"PATH=/usr/bin:/bin"}, SIGKILL).end ==
          ProcessEnd(Signaled{SIGKILL}));
    const Shell shell("sleep 100 & echo $!; exit 0");
    CHECK(*shell.end == ProcessEnd(Exited{0}));
    const pid_t left = std::stoi(shell.out);
    CHECK(soon_gone(left));
}

TEST_CASE("who escapes from the group and holds a pipe does not hold us up") {
    const Shell shell("setsid sleep 3 & sleep 0.1; echo done");
    CHECK(shell.out == "done\n");
    CHECK(*shell.end == ProcessEnd(Exited{0}));
}

TEST_CASE("who escapes from the group is killed when its worker has ended") {
    become_subreaper();
    const Shell shell("setsid sleep 100 >/dev/null 2>&1 & sleep 0.1; echo $!");
    const pid_t left = std::stoi(shell.out);
    CHECK(soon_gone(left));
}

TEST_CASE("a program that cannot be started says why") {
    boost::asio::io_context io;
    const auto problem = [&](const std::string& program) -> std::string {
        try {
            Process::spawn(io, {program}, {}, {});
        } catch (const std::runtime_error& error) {
            return error.what();
        }
        return "started";
    };
    CHECK(problem("/nowhere/x") == "cannot start /nowhere/x: No such file or directory");
    CHECK(problem("/etc/passwd") == "cannot start /etc/passwd: Permission denied");
    CHECK(problem("no-such-program-here") ==
          "cannot start no-such-program-here: no such program in PATH");
    CHECK(::waitpid(-1, nullptr, WNOHANG) <= 0);  // nothing is left to reap
}

TEST_CASE("many children leave no descriptors behind") {
    const auto open_descriptors = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    };
    const Shell first("true");
    const auto before = open_descriptors();
    for (int i = 0; i < 50; ++i) CHECK(Shell("echo x").out == "x\n");
    CHECK(open_descriptors() == before);
}

TEST_CASE("a child dies with the program that spawned it") {
    const TempFolder folder;
    const std::string file = (folder / "pid").string();
    const pid_t middle = ::fork();
    if (middle == 0) {
        boost::asio::io_context io;
        const auto process = Process::spawn(
            io,
            {"sh", "-c", "echo $$ > " + file + ".new; mv " + file + ".new " + file + "; sleep 100"},
            {"PATH=/usr/bin:/bin"}, {});
        while (!std::filesystem::exists(file)) ::usleep(1000);
        ::kill(::getpid(), SIGKILL);
    }
    ::waitpid(middle, nullptr, 0);
    const pid_t child = std::stoi(tests::file_contents(file));
    CHECK(soon_gone(child));
}

TEST_CASE("the start time names a process, and a gone one has none") {
    CHECK(process_start_time(::getpid()) > 0);
    CHECK(process_start_time(-5) == 0);
}
