// Nothing is lost: every outcome under every way to run, disks and folders that go wrong, floods,
// and many cells.
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "orchestrator/journal.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;
namespace fs = std::filesystem;

namespace {

/// What a worker does, and the outcome that it makes.
constexpr std::pair<const char*, Status> outcomes[] = {
    {"ok", Status::ok},
    {"report:oom_gpu", Status::oom_gpu},
    {"report:oom_host", Status::oom_host},
    {"report:unsupported", Status::unsupported},
    {"report:invalid_result", Status::invalid_result},
    {"nan", Status::invalid_result},
    {"report:crash", Status::crash},
    {"crash:11", Status::crash},
    {"exit:3", Status::error},
    {"hang", Status::timeout},
};

std::string text_at(const Table& table, std::size_t row, const char* column) {
    return std::get<std::string>(table.at(row, column));
}

/// How many starts each cell has so far.
std::map<std::string, int> starts_of(const Sandbox& sandbox) {
    std::map<std::string, int> starts;
    const fs::path file = sandbox.path("results/x/journal.jsonl");
    if (!fs::exists(file)) return starts;
    const Journal journal = Journal::read(file);
    for (const auto& [key, history] : journal.cells()) starts[key] = history.starts;
    return starts;
}

/// The number of entries of a process' folder in /proc.
std::ptrdiff_t count_entries(const fs::path& folder) {
    std::error_code gone;
    return std::distance(fs::directory_iterator(folder, gone), {});
}

long resident_kib(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string word; status >> word;)
        if (word == "VmRSS:") {
            long kib = 0;
            status >> kib;
            return kib;
        }
    return 0;
}

}  // namespace

TEST_SUITE_BEGIN("sweep");

TEST_CASE("fault matrix: every outcome, with both isolations, with and without retry and resume") {
    std::string behaviours;
    for (const auto& [behaviour, status] : outcomes) behaviours += std::string(behaviour) + ", ";
    for (const char* isolation : {"process", "shared"})
        for (const bool retried : {false, true})
            for (const bool resumed : {false, true}) {
                CAPTURE(isolation);
                CAPTURE(retried);
                CAPTURE(resumed);
                Sandbox sandbox("axis.behaviour = " + behaviours +
                                "hold_once\nisolation = " + isolation + "\nretry = " +
                                (retried ? "crash:1,timeout:1,error:1,invalid_result:1,oom_gpu:1,"
                                           "oom_host:1,unsupported:1"
                                         : "none"));
                if (resumed) {
                    const pid_t pid = sandbox.start({"run", "x.cfg", "--timeout", "1s"});
                    // All before it are done when the last cell holds.
                    sandbox.wait_until([&] { return fs::exists(sandbox.path("seen-hold_once")); });
                    ::kill(pid, SIGKILL);
                    sandbox.wait(pid);
                } else {
                    std::ofstream(sandbox.path("seen-hold_once"));
                }
                const std::map<std::string, int> before = starts_of(sandbox);
                CHECK(sandbox.sweep({"--timeout", "1s"}).exit_code == 1);
                const Table table = read_csv(sandbox.path("results/x.csv").string());
                REQUIRE(table.row_count() == std::size(outcomes) + 1);
                for (std::size_t row = 0; row < std::size(outcomes); ++row) {
                    const Status status = outcomes[row].second;
                    const bool ok = status == Status::ok;
                    CAPTURE(outcomes[row].first);
                    CHECK(text_at(table, row, "status") == to_name(status));
                    CHECK(text_at(table, row, "attempts") == (retried && !ok ? "2" : "1"));
                    CHECK(text_at(table, row, "failed_attempts") == (ok        ? "0"
                                                                     : retried ? "2"
                                                                               : "1"));
                    CHECK(text_at(table, row, "error").empty() == ok);
                    const std::string key = text_at(table, row, "key");
                    CHECK(fs::exists(sandbox.path("results/x/cells/" + key + "/repro.sh")) == !ok);
                    // Nothing that was finished is run again.
                    if (resumed) CHECK(starts_of(sandbox)[key] == before.at(key));
                }
                const std::size_t held = std::size(outcomes);
                CHECK(text_at(table, held, "status") == "ok");
                CHECK(text_at(table, held, "attempts") == "1");  // what was broken off never counts
            }
}

TEST_CASE("fault matrix: what is no attempt at a cell, with both isolations") {
    for (const char* isolation : {"process", "shared"}) {
        CAPTURE(isolation);
        Sandbox sandbox("axis.behaviour = ok, hold_once\nretry = none\nisolation = " +
                        std::string(isolation) + "\n");
        sandbox.set_variable("FAKE_WORKER_START=dies");
        CHECK(sandbox.sweep().exit_code == 1);
        CHECK(sandbox.column("status") == "spawn_failed spawn_failed");
        sandbox.set_variable("FAKE_WORKER_START=");
        const pid_t pid = sandbox.start({"run", "x.cfg"});
        sandbox.wait_until([&] { return fs::exists(sandbox.path("seen-hold_once")); });
        ::kill(pid, SIGINT);
        sandbox.wait_until([&] { return contains(sandbox.file("err.txt"), "once more kills it"); });
        ::kill(pid, SIGINT);
        CHECK(sandbox.wait(pid).signal == SIGINT);
        CHECK(sandbox.column("status") == "ok interrupted");
        CHECK(sandbox.sweep({"--context-length", "64,512"}).exit_code == 0);
        CHECK(sandbox.column("status") == "ok ok ok ok");
        CHECK(sandbox.column("attempts") == "1 1 1 1");
        CHECK(sandbox.column("failed_attempts") == "0 0 0 0");
    }
}

TEST_CASE("a file where a folder should be, or the reverse, is one clear line and exit 4") {
    const auto refused = [](const std::function<void(const Sandbox&)>& spoil,
                            const std::string& name) {
        CAPTURE(name);
        Sandbox sandbox("axis.behaviour = ok\n");
        spoil(sandbox);
        const Ran ran = sandbox.sweep();
        CHECK(ran.exit_code == 4);
        CHECK(contains(ran.err, name));
        CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') <= 2);
        CHECK(sandbox.answers() == 0);
    };
    const auto file_at = [](const std::string& name) {
        return [name](const Sandbox& sandbox) {
            fs::create_directories(sandbox.path(name).parent_path());
            if (name.starts_with("results/x/")) std::ofstream(sandbox.path("results/x/lock"));
            std::ofstream(sandbox.path(name)) << "mine";
        };
    };
    const auto folder_at = [](const std::string& name) {
        return [name](const Sandbox& sandbox) {
            fs::create_directories(sandbox.path(name));
            if (name != "results/x/lock" && name.starts_with("results/x/"))
                write_file(sandbox.path("results/x/lock"), "");
        };
    };
    refused(file_at("results"), "results");
    refused(file_at("results/x"), "results/x");
    refused(file_at("results/x/cells"), "results/x/cells");
    refused(file_at("results/x/logs"), "results/x/logs");
    refused(folder_at("results/x/lock"), "results/x/lock");
    refused(folder_at("results/x/journal.jsonl"), "results/x/journal.jsonl");
    refused(folder_at("results/x.csv"), "results/x.csv");
    Sandbox sandbox("axis.behaviour = ok\noutput = /proc/isosweep.csv\n");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 4);
    CHECK(contains(ran.err, "/proc/isosweep"));
}

TEST_CASE("a log that cannot be written costs no result") {
    Sandbox sandbox("axis.behaviour = garbage\n");
    const std::string key = sandbox.run({"plan", "x.cfg"}).out;
    const auto line = key.find('\n', key.find("---")) + 1;
    fs::create_directories(sandbox.path("results/x/cells"));
    write_file(sandbox.path("results/x/lock"), "");
    std::ofstream(sandbox.path("results/x/cells/" + key.substr(line, 16))) << "in the way";
    const Ran ran = sandbox.sweep();
    CHECK(contains(ran.err, "the log is not whole: cannot make the folder results/x/cells/"));
    CHECK(sandbox.column("status") == "ok");
}

TEST_CASE("a folder that is removed under a sweep ends it, and what was measured is told") {
    Sandbox sandbox("axis.behaviour = ok, hold_once, slow:1\n");
    const pid_t pid = sandbox.start({"run", "x.cfg", "--timeout", "1s"});
    sandbox.wait_until([&] { return fs::exists(sandbox.path("seen-hold_once")); });
    fs::remove_all(sandbox.path("results/x"));
    const Ran ran = sandbox.wait(pid);
    CHECK(ran.exit_code == 4);
    CHECK(contains(ran.err, "results/x/journal.jsonl was removed or moved away"));
    CHECK(contains(ran.err, R"({"record":"end")"));
    CHECK(contains(ran.err, R"("status":"timeout")"));
    CHECK(sandbox.column("status") == "ok timeout not_run");  // the CSV could be written
    CHECK(sandbox.answers() == 1);
    CHECK(sandbox.sweep().exit_code == 0);
}

TEST_CASE("what a worker has answered is told, also where the sweep ends before it does") {
    Sandbox sandbox("axis.behaviour = slow:1500, result_then_hang\ndevice = cpu\njobs = 2\n");
    const pid_t pid = sandbox.start({"run", "x.cfg", "--kill-grace", "10s"});
    sandbox.wait_until([&] { return sandbox.answers() == 1; });
    fs::remove_all(sandbox.path("results/x"));
    const Ran ran = sandbox.wait(pid);
    CHECK(ran.exit_code == 4);
    CHECK(sandbox.answers() == 2);
    CHECK(sandbox.column("status") == "ok ok");
    const std::size_t first = ran.err.find(R"({"record":"end")");
    CHECK(contains(ran.err.substr(first + 1), R"({"record":"end")"));
}

TEST_CASE("a worker that prints 2 GB leaves a log of 2 MiB") {
    Sandbox sandbox("axis.behaviour = \"flood:2048\"\n");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 0);
    CHECK(sandbox.column("status") == "ok");
    const fs::path log =
        sandbox.path("results/x/cells/" + sandbox.column("key") + "/attempt-1.log");
    CHECK(fs::file_size(log) > (2U << 20U));
    CHECK(fs::file_size(log) < (3U << 20U));
}

TEST_CASE("a worker that does not read its request is a timeout, however long the request is") {
    Sandbox sandbox("axis.behaviour = ok\naxis.blob = " + std::string(300'000, 'b') + "\n");
    sandbox.set_variable("FAKE_WORKER_START=deaf");
    CHECK(sandbox.sweep({"--timeout", "300ms", "--retry", "none"}).exit_code == 1);
    CHECK(sandbox.column("status") == "timeout");
    sandbox.set_variable("FAKE_WORKER_START=");
    CHECK(sandbox.run({"retry", "x.cfg", "--status", "timeout", "--allow-mixed"}).exit_code == 0);
}

TEST_CASE("a machine on which no cell can run ends the sweep after three cells") {
    for (const char* isolation : {"process", "shared"}) {
        Sandbox sandbox("axis.behaviour = no_gpu\ncontext-length = 1..50\n");
        const Ran ran = sandbox.sweep({"--isolation", isolation});
        CHECK(ran.exit_code == 5);
        CHECK(contains(ran.err,
                       "this machine cannot run cells; the last of 3 cells ended with: no CUDA "
                       "device. Mend that"));
        CHECK(Journal::read(sandbox.path("results/x/journal.jsonl")).cells().size() == 3);
    }
    // Of a table that nobody would read, it says where it is.
    Sandbox large("axis.behaviour = no_gpu\ncontext-length = 1..2001\n");
    const Ran told = large.sweep();
    CHECK(told.out.empty());
    CHECK(
        contains(told.err, "the table has 2001 rows and is not printed: `isosweep report x.cfg`"));
    CHECK(read_csv(large.path("results/x.csv").string()).row_count() == 2001);
    // Where a cell ran, what follows is taken for the cells' own.
    Sandbox sandbox("axis.behaviour = ok, no_gpu\ncontext-length = 1..5\n");
    CHECK(sandbox.sweep().exit_code == 1);
}

TEST_CASE("many cells in a row leave descriptors, memory and processes as they were") {
    const char* const wanted = std::getenv("ISOSWEEP_TEST_CELLS");
    const int cells = wanted ? std::stoi(wanted) : 500;
    for (const std::string isolation : {"process", "shared"}) {
        CAPTURE(isolation);
        Sandbox sandbox("context-length = 1.." + std::to_string(cells) +
                        "\nisolation = " + isolation + "\n");
        // The address sanitizer keeps what was freed: of that, little.
        sandbox.set_variable(
            "ASAN_OPTIONS=quarantine_size_mb=1:thread_local_quarantine_size_kb=64");
        const pid_t pid = sandbox.start({"run", "x.cfg"});
        const fs::path proc = fs::path("/proc") / std::to_string(pid);
        std::ptrdiff_t most_descriptors = 0;
        long early_kib = 0;
        long late_kib = 0;
        std::size_t most_children = 0;
        int status = 0;
        while (::waitpid(pid, &status, WNOHANG) == 0) {
            const std::size_t answers = sandbox.answers();
            const auto share = static_cast<double>(answers) / cells;
            if (share > 0.1 && early_kib == 0) early_kib = resident_kib(pid);
            if (share > 0.1 && share < 0.98) late_kib = std::max(late_kib, resident_kib(pid));
            most_descriptors = std::max(most_descriptors, count_entries(proc / "fd"));
            std::ifstream children(proc / "task" / std::to_string(pid) / "children");
            most_children = std::max(most_children, static_cast<std::size_t>(std::distance(
                                                        std::istream_iterator<int>(children), {})));
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        CHECK(status == 0);
        CHECK(sandbox.answers() == static_cast<std::size_t>(cells));
        CHECK(read_csv(sandbox.path("results/x.csv").string()).row_count() ==
              static_cast<std::size_t>(cells));
        MESSAGE(isolation, ": ", cells, " cells, at most ", most_descriptors, " descriptors and ",
                most_children, " children, ", early_kib, " to ", late_kib, " KiB resident");
        CHECK(most_descriptors < 40);
        CHECK(most_children <= (isolation == "process" ? 3 : 1));  // two stand by
        // What is kept of a cell is some hundred bytes; rows of the CSV come and go.
        CHECK(late_kib - early_kib < 10'000 + 3L * cells);
    }
}

TEST_SUITE_END();
