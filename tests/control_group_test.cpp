#include "orchestrator/control_group.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <optional>

#include "orchestrator/errors.h"
#include "orchestrator/process.h"
#include "temp_folder.h"

using namespace isosweep;
using isosweep::tests::TempFolder;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

/// A machine on which process 7 lives.
struct Machine {
    explicit Machine(const std::string& groups) { write("proc/7/cgroup", groups); }
    void write(const std::string& name, const std::string& content) const {
        fs::create_directories((folder / name).parent_path());
        tests::write_file(folder / name, content);
    }
    std::string read(const std::string& name) const { return tests::file_contents(folder / name); }
    OomKillCounter::Roots roots() const { return {folder / "proc", folder / "cgroup"}; }
    GroupHome home() const { return own_group_home(7, roots()); }
    std::string problem() const {
        try {
            home();
        } catch (const std::runtime_error& error) {
            std::string text = error.what();
            const std::string path = folder.path().string() + "/";
            for (auto at = text.find(path); at != std::string::npos; at = text.find(path))
                text.erase(at, path.size());
            return text;
        }
        return "no problem";
    }
    TempFolder folder;
};

/// PATH with a folder of stand-ins in front, as long as the object lives.
struct StandIns {
    StandIns() { ::setenv("PATH", (folder.path().string() + ":" + old).c_str(), 1); }
    ~StandIns() { ::setenv("PATH", old.c_str(), 1); }
    void add(const std::string& name, const std::string& script) const {
        tests::write_file(folder / name, "#!/bin/sh\n" + script);
        fs::permissions(folder / name, fs::perms::owner_all);
    }
    std::string old = std::getenv("PATH");
    TempFolder folder;
};

const std::string token = "0123456789abcdef0123456789abcdef";

/// A home for groups with a limit on this machine; told where there is none.
std::optional<MemoryLimit> real_limit(std::int64_t bytes) {
    try {
        MemoryLimit limit{bytes, own_group_home(::getpid())};
        const ControlGroup trial(limit, "test-" + std::to_string(::getpid()));
        return limit;
    } catch (const std::runtime_error& problem) {
        MESSAGE("left out: " << problem.what());
        return std::nullopt;
    }
}

}  // namespace

TEST_CASE("version 1: a group for memory has others below it") {
    const Machine machine("5:cpu,cpuacct:/elsewhere\n4:memory:/docker/abc\n0::/\n");
    CHECK(machine.problem() == "there is no control group cgroup/memory/docker/abc");
    machine.write("cgroup/memory/docker/abc/cgroup.procs", "1\n7\n");
    CHECK(machine.home().version == 1);
    CHECK(machine.home().folder == machine.folder / "cgroup/memory/docker/abc");
    CHECK(machine.home().maker == GroupHome::Maker::ourselves);
}

TEST_CASE("a container's own group is the uppermost that it sees") {
    const Machine machine("4:memory:/docker/abc\n");
    machine.write("cgroup/memory/cgroup.procs", "1\n5\n");
    CHECK(machine.problem() == "there is no control group cgroup/memory/docker/abc");
    machine.write("cgroup/memory/cgroup.procs", "1\n7\n");
    CHECK(machine.home().folder == machine.folder / "cgroup/memory");
}

TEST_CASE("version 2: groups below ours need the controller, and us alone") {
    const Machine machine("0::/user.slice/run.scope\n");
    const std::string own = "cgroup/user.slice/run.scope/";
    machine.write(own + "cgroup.procs", "7\n9\n");
    machine.write(own + "cgroup.controllers", "cpu pids\n");
    CHECK(machine.problem() == "cgroup/user.slice/run.scope is not given the memory controller");
    machine.write(own + "cgroup.controllers", "cpu memory pids\n");
    machine.write(own + "cgroup.subtree_control", "");
    CHECK(machine.problem() ==
          "cgroup/user.slice/run.scope has other processes beside this one, and so none can be "
          "below");
    // Alone, it moves into a group below and hands the controller on.
    machine.write(own + "cgroup.procs", "7\n");
    machine.write(own + "isosweep-7/cgroup.procs", "");
    CHECK(machine.home().folder == machine.folder / "cgroup/user.slice/run.scope");
    CHECK(machine.home().version == 2);
    CHECK(machine.read(own + "isosweep-7/cgroup.procs") == "7");
    CHECK(machine.read(own + "cgroup.subtree_control") == "+memory");
    // Where others below have it already, nobody moves.
    machine.write(own + "cgroup.procs", "7\n9\n");
    machine.write(own + "cgroup.subtree_control", "cpu memory\n");
    CHECK(machine.problem() == "no problem");
    CHECK(Machine("5:cpu:/x\n").problem() == "this process is in no control group for memory");
}

TEST_CASE("a group that cannot have its limit is not left behind") {
    const Machine machine("0::/\n");
    fs::create_directories(machine.folder / "cgroup");
    const MemoryLimit limit{1 << 20, {GroupHome::Maker::ourselves, 2, machine.folder / "cgroup"}};
    const std::string folder = (machine.folder / ("cgroup/isosweep-" + token)).string();
    std::string problem;
    try {
        const ControlGroup group(limit, token);
    } catch (const std::runtime_error& error) {
        problem = error.what();
    }
    CHECK(problem ==
          "cannot make the control group " + folder + ": memory.max: No such file or directory");
    CHECK_FALSE(fs::exists(folder));
}

TEST_CASE("where we can make no group, systemd is asked for a scope that has the limit") {
    const Machine nowhere("");
    const StandIns programs;
    const auto problem = [&]() -> std::string {
        try {
            make_memory_limit(1 << 30, nowhere.roots());
        } catch (const EnvironmentError& error) {
            return error.what();
        }
        return "no problem";
    };
    programs.add("systemd-run", "echo 'Failed to connect to bus' >&2; exit 1\n");
    CHECK(problem() ==
          "memory-limit = 1.00 GiB: this machine lets us limit no worker: no control group can be "
          "made (this process is in no control group for memory), and `systemd-run --user --scope` "
          "does not work (Failed to connect to bus); leave the key out, and limit the job, the "
          "container or the service that isosweep runs in");
    // Where it is older, or memory is not its to limit, it says nothing and does nothing.
    programs.add("systemd-run", "echo /user.slice/app.slice/x.scope; echo max\n");
    CHECK(problem().find("does not work (its scopes have no memory limit)") != std::string::npos);
    programs.add("systemd-run", "echo /user.slice/app.slice/x.scope; echo 1073741824\n");
    const MemoryLimit limit = make_memory_limit(1 << 30, nowhere.roots());
    CHECK(limit.home.maker == GroupHome::Maker::systemd);
    CHECK(limit.home.folder == "/sys/fs/cgroup/user.slice/app.slice");
    ControlGroup group(limit, token);
    CHECK(group.entry() == -1);
    CHECK(group.launcher() == Words{"systemd-run", "--user", "--scope", "--quiet", "--collect",
                                    "--unit=isosweep-" + token + ".scope", "-p",
                                    "MemoryMax=1073741824", "-p", "MemorySwapMax=0", "--"});
    CHECK(group.folder() == limit.home.folder / ("isosweep-" + token + ".scope"));
    CHECK(group.end());
}

TEST_CASE("version 2 counts a scope's kills in the group above it, which outlives it") {
    const Machine machine("");
    machine.write("cgroup/app.slice/memory.events", "low 0\nmax 5\noom 3\noom_kill 2\n");
    const fs::path slice = machine.folder / "cgroup/app.slice";
    const ControlGroup scope({1, {GroupHome::Maker::systemd, 2, slice}}, token);
    CHECK(scope.oom_kills().read() == 2);
    CHECK_FALSE(scope.was_at_limit());
    machine.write("cgroup/app.slice/memory.events", "low 0\nmax 5\noom 4\noom_kill 3\n");
    CHECK(scope.oom_kills().read() == 3);
    CHECK(scope.was_at_limit());
}

TEST_CASE("only a group with the token of our worker is ended as a leftover") {
    const Machine machine("");
    const pid_t child = ::fork();
    if (child == 0) {
        ::sleep(100);
        ::_exit(0);
    }
    const auto lives = [&] { return ::waitpid(child, nullptr, WNOHANG) == 0; };
    const std::string procs = std::to_string(child) + "\n";
    for (const std::string& name : Words{"cgroup/isosweep-" + token.substr(1), "cgroup/user.slice",
                                         "elsewhere/isosweep-" + token + ".scope"}) {
        machine.write(name + "/cgroup.procs", procs);
        end_leftover_group(machine.folder / name, token, machine.roots());
        end_leftover_group(machine.folder / name, "", machine.roots());
    }
    end_leftover_group(machine.folder / ("cgroup/isosweep-" + token), token, machine.roots());
    ::usleep(50'000);
    CHECK(lives());
    const std::string ours = "cgroup/isosweep-" + token + ".scope";
    machine.write(ours + "/cgroup.procs", procs);
    end_leftover_group(machine.folder / ours, token, machine.roots());
    CHECK(::waitpid(child, nullptr, 0) == child);
}

TEST_CASE("a process that cannot enter its group is not started") {
    boost::asio::io_context io;
    const FileDescriptor not_for_writing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    std::string problem;
    try {
        Process::spawn(io, {"true"}, {}, {}, not_for_writing.get());
    } catch (const std::runtime_error& error) {
        problem = error.what();
    }
    CHECK(problem == "cannot start true or put it into its control group: Bad file descriptor");
}

TEST_CASE("a process is in its group before it begins, and nobody outlives the group") {
    const auto limit = real_limit(1 << 28);
    if (!limit) return;
    std::optional<ControlGroup> group;
    group.emplace(*limit, token);
    const fs::path folder = group->folder();
    CHECK(group->oom_kills().read() == 0);
    CHECK_FALSE(group->was_at_limit());
    CHECK(group->launcher().empty());
    std::string out;
    boost::asio::io_context io;
    const auto process = Process::spawn(
        io, {"sh", "-c", "cat /proc/self/cgroup; setsid sleep 100 >/dev/null 2>&1 & echo $!"},
        {"PATH=/usr/bin:/bin"},
        {.on_stdout = [&](std::string_view bytes) { out += bytes; },
         .on_stderr = {},
         .on_stdout_end = {},
         .on_end = {}},
        group->entry());
    io.run();
    CHECK(out.find("/isosweep-" + token + "\n") != std::string::npos);
    const std::string last = out.substr(out.rfind('\n', out.size() - 2) + 1);
    CHECK(group->end());
    CHECK_FALSE(fs::exists(folder));
    // Where nobody reaps it, it stays as a zombie.
    const std::string stat =
        tests::file_contents("/proc/" + std::to_string(std::stoi(last)) + "/stat");
    CHECK((stat.empty() || stat.find(") Z ") != std::string::npos));
    CHECK(group->end());
}
