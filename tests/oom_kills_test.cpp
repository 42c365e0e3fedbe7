#include "orchestrator/oom_kills.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include "temp_folder.h"

using namespace isosweep;
using isosweep::tests::TempFolder;

namespace {

/// A machine on which process 7 lives.
struct Machine {
    explicit Machine(const std::string& groups) { write("proc/7/cgroup", groups); }
    void write(const std::string& name, const std::string& content) const {
        std::filesystem::create_directories((folder / name).parent_path());
        tests::write_file(folder / name, content);
    }
    OomKillCounter counter() const { return {7, {folder / "proc", folder / "cgroup"}}; }
    TempFolder folder;
};

constexpr const char* vmstat = "nr_free_pages 5\noom_kill 40\n";

}  // namespace

TEST_CASE("the kills of a process' own group are counted, version 2") {
    const Machine machine("0::/user.slice/sweep.scope\n");
    machine.write("proc/vmstat", vmstat);
    machine.write("cgroup/user.slice/sweep.scope/memory.events", "low 0\noom 1\noom_kill 2\n");
    const OomKillCounter counter = machine.counter();
    CHECK(counter.read() == 2);
    machine.write("cgroup/user.slice/sweep.scope/memory.events", "low 0\noom 1\noom_kill 3\n");
    CHECK(counter.read() == 3);
}

TEST_CASE("the kills of a process' own group are counted, version 1") {
    const Machine machine("5:cpu,cpuacct:/elsewhere\n4:memory:/docker/abc\n0::/\n");
    machine.write("proc/vmstat", vmstat);
    machine.write("cgroup/memory/docker/abc/memory.oom_control",
                  "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n");
    CHECK(machine.counter().read() == 6);
}

TEST_CASE("the machine's kills count only where no group's can be read") {
    const Machine machine("0::/\n");
    CHECK_FALSE(machine.counter().read());
    machine.write("proc/vmstat", vmstat);
    CHECK(machine.counter().read() == 40);
    CHECK(machine.counter().file().filename() == "vmstat");
    CHECK_FALSE(OomKillCounter().read());
    CHECK_FALSE(OomKillCounter(99'999'999, {machine.folder / "nowhere", "/nowhere"}).read());
}

TEST_CASE("this machine tells or does not, and nothing breaks") {
    const OomKillCounter counter(::getpid());
    if (!counter.file().empty()) CHECK(counter.read().value_or(-1) >= 0);
}
