// The orchestrator killed at any moment, and disks that fail: what was finished is kept, nothing is
// measured twice, and the sweep that goes on ends as one that was never stopped.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "orchestrator/journal.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;
namespace fs = std::filesystem;

namespace {

/// Four cells that end in different ways, with figures that are the same every time.
const std::string config =
    "axis.behaviour = ok, report:oom_gpu, flags, report:error\nwarmup-steps = 1\n"
    "measure-steps = 3\nretry = none\n";

/// The columns that tell of times and attempts, which an interruption changes.
const std::set<std::string> volatile_columns = {
    "started_at",   "elapsed_ms",      "attempt",   "attempts",      "failed_attempts",
    "gate_wait_ms", "worker_start_ms", "answer_ms", "worker_exit_ms"};

/// The CSV but for its volatile columns.
std::string lasting(const Sandbox& sandbox) {
    const Table table = read_csv(sandbox.path("results/x.csv").string());
    std::string text;
    for (std::size_t row = 0; row < table.row_count(); ++row)
        for (const std::string& column : table.columns())
            if (!volatile_columns.contains(column))
                text += column + "=" + std::get<std::string>(table.at(row, column)) + "\n";
    return text;
}

std::set<std::string> recorded_keys(const Sandbox& sandbox) {
    const fs::path file = sandbox.path("results/x/journal.jsonl");
    std::set<std::string> keys;
    if (!fs::exists(file)) return keys;
    const Journal journal = Journal::read(file);
    for (const auto& [key, history] : journal.cells())
        if (history.is_done()) keys.insert(key);
    return keys;
}

/// Processes that this sandbox' workers left behind.
std::string left_behind(const Sandbox& sandbox) {
    const std::string mark = "FAKE_WORKER_DIR=" + sandbox.path("").parent_path().string();
    std::string pids;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::ifstream file(entry.path() / "environ", std::ios::binary);
        const std::string environment{std::istreambuf_iterator<char>(file), {}};
        if (contains(environment, mark)) pids += name + " ";
    }
    return pids;
}

/// The lines of a text that begin with `start`.
std::string lines_with(const std::string& text, const std::string& start) {
    std::istringstream lines(text);
    std::string found;
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with(start)) found += line + "\n";
    return found;
}

std::unique_ptr<Sandbox> with_faults(const std::string& text = config) {
    auto sandbox = std::make_unique<Sandbox>(text);
    sandbox->set_variable(std::string("LD_PRELOAD=") + FAULT_INJECTION);
    // A sanitizer wants to be the first library, and need not be.
    sandbox->set_variable("ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0");
    sandbox->set_variable("FAULT_PATH=results/");
    sandbox->set_variable("FAULT_COUNT=" + sandbox->path("calls").string());
    return sandbox;
}

/// What an uninterrupted sweep writes.
const std::string& uninterrupted() {
    static const std::string rows = [] {
        Sandbox sandbox(config);
        CHECK(sandbox.sweep().exit_code == 1);
        CHECK(sandbox.column("status") == "ok oom_gpu ok error");
        return lasting(sandbox);
    }();
    return rows;
}

/// Goes on with a sweep that was killed, and checks all that was promised of it.
void go_on(Sandbox& sandbox) {
    const std::set<std::string> finished = recorded_keys(sandbox);
    std::map<std::string, int> starts;
    if (fs::exists(sandbox.path("results/x/journal.jsonl"))) {
        const Journal journal = Journal::read(sandbox.path("results/x/journal.jsonl"));
        for (const std::string& key : finished) starts[key] = journal.history(key).starts;
    }
    sandbox.set_variable("FAULT_AT=0");
    const Ran ran = sandbox.sweep();
    CHECK_MESSAGE(ran.exit_code == 1, ran.err);  // one cell reports an error
    CHECK(lasting(sandbox) == uninterrupted());
    const Journal journal = Journal::read(sandbox.path("results/x/journal.jsonl"));
    for (const auto& [key, count] : starts) CHECK(journal.history(key).starts == count);
    CHECK(left_behind(sandbox) == "");
}

}  // namespace

TEST_SUITE_BEGIN("sweep");

TEST_CASE("killed before, in and behind every write, sync and rename, a sweep goes on") {
    int kills = 0;
    for (const char* action : {"kill_before", "kill_half", "kill_after"}) {
        for (int at = 1;; ++at) {
            CAPTURE(action);
            CAPTURE(at);
            const auto sandbox = with_faults();
            sandbox->set_variable(std::string("FAULT_ACTION=") + action);
            sandbox->set_variable("FAULT_AT=" + std::to_string(at));
            const Ran ran = sandbox->sweep();
            if (ran.signal == 0) {
                CHECK_MESSAGE(ran.exit_code == 1, ran.err);
                break;  // it makes fewer calls than that
            }
            REQUIRE(ran.signal == SIGKILL);
            ++kills;
            go_on(*sandbox);
        }
    }
    MESSAGE(kills, " kills");
    CHECK(kills > 60);
}

TEST_CASE("killed at random moments, a sweep goes on") {
    const char* const wanted = std::getenv("ISOSWEEP_TEST_KILLS");
    const int rounds = wanted ? std::stoi(wanted) : 15;
    std::mt19937 random(20261123);  // NOLINT(*-random-generator-seed): the same every time
    for (int round = 0; round < rounds; ++round) {
        CAPTURE(round);
        Sandbox sandbox(config);
        const pid_t pid = sandbox.start({"run", "x.cfg"});
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
        ::kill(pid, SIGKILL);
        sandbox.wait(pid);
        go_on(sandbox);
    }
}

TEST_CASE("killed twelve times in the same cell, a sweep goes on") {
    Sandbox sandbox("axis.behaviour = slow:400\nwarmup-steps = 1\nmeasure-steps = 3\n");
    for (int round = 0; round < 12; ++round) {
        const pid_t pid = sandbox.start({"run", "x.cfg"});
        const auto starts = [&] {
            const fs::path file = sandbox.path("results/x/journal.jsonl");
            if (!fs::exists(file)) return 0;
            const Journal journal = Journal::read(file);
            return journal.cells().empty() ? 0 : journal.cells().begin()->second.starts;
        };
        sandbox.wait_until([&] { return starts() > round; });
        ::kill(pid, SIGKILL);
        sandbox.wait(pid);
    }
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("status") == "ok");
    CHECK(sandbox.column("attempts") == "1");
    CHECK(left_behind(sandbox) == "");
}

TEST_CASE("what escaped from a killed run is found by its token and killed by the next") {
    Sandbox sandbox("axis.behaviour = escape_once\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    const auto alive = [&] {
        std::istringstream pids(left_behind(sandbox));
        return std::distance(std::istream_iterator<int>(pids), {});
    };
    sandbox.wait_until([&] { return alive() == 3; });  // isosweep, worker, grandchild
    ::kill(pid, SIGKILL);
    sandbox.wait(pid);
    sandbox.wait_until([&] { return alive() == 1; });  // the grandchild outlives them
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.err, "killed what an earlier run of this sweep left behind: fake-worker"));
    CHECK(sandbox.column("status") == "ok");
    CHECK(left_behind(sandbox) == "");
}

TEST_CASE("a disk that fails ends the sweep with exit 4 and one line; what is there stays whole") {
    int rescued = 0;
    for (const char* error : {"ENOSPC", "EIO"}) {
        for (int at = 1;; ++at) {
            CAPTURE(error);
            CAPTURE(at);
            const auto sandbox = with_faults();
            sandbox->set_variable(std::string("FAULT_ACTION=") + error);
            sandbox->set_variable("FAULT_AT=" + std::to_string(at));
            const Ran ran = sandbox->sweep();
            if (ran.exit_code == 1) break;  // it makes fewer calls than that
            CHECK(ran.exit_code == 4);
            CHECK(contains(ran.err, std::string(error) == "EIO" ? "Input/output error"
                                                                : "No space left on device"));
            // What was measured and could not be kept is on stderr, as the journal wants it.
            const std::string told = lines_with(ran.err, R"({"record":"end")");
            if (!told.empty())
                std::ofstream(sandbox->path("results/x/journal.jsonl"), std::ios::app) << told;
            rescued += static_cast<int>(std::count(told.begin(), told.end(), '\n'));
            go_on(*sandbox);
            CHECK(sandbox->answers() <= 5);  // each of the four once, and one that was running
        }
    }
    MESSAGE(rescued, " outcomes told on stderr");
    CHECK(rescued > 5);
}

TEST_SUITE_END();
