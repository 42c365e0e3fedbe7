#include "orchestrator/status.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <regex>
#include <sstream>

#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

/// Three cells: one that ended in a crash, one that has just begun, one that was not reached.
struct Sample {
    Sample() : journal(Journal::open(folder / "j")) {
        for (const std::int64_t context : {64, 128, 256}) {
            Cell cell;
            cell.context_length = context;
            rows.push_back({key_of(cell), cell});
        }
        journal.write_header({});
        Attempt crashed;
        crashed.outcome.status = Status::crash;
        crashed.outcome.message = "why";
        crashed.elapsed_ms = 30'000;
        journal.write_start(rows[0].key, 1, "n1", "t1", {});
        journal.write_end(rows[0].key, crashed);
        journal.write_start(rows[1].key, 2, "n2", "t2", {});
    }
    /// As another process sees it, 12 seconds after the last record.
    SweepStatus look(const LockState& lock,
                     std::optional<std::int64_t> longest_silence_ms = 60'000) const {
        const Journal read = Journal::read(journal.file());
        return make_status(rows, read,
                           {lock, "here", *read.last_record_ms() + 12'000, longest_silence_ms});
    }

    TempFolder folder;
    Journal journal;
    std::vector<PlannedCell> rows;
};

std::string text_of(SweepStatus status) {
    status.journal = "j";
    return status_text(status);
}

/// Lines of a text.
std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

/// The command line that writes the status of x.cfg, over and over, to a file of its own.
std::vector<std::string> following(const std::string& flags, const std::string& file) {
    return {"/bin/sh", "-c",
            "exec '" ISOSWEEP_PROGRAM "' status x.cfg --follow " + flags + " > " + file};
}

}  // namespace

TEST_CASE("a sweep whose lock is held runs, and says what and for how long") {
    const Sample sample;
    CHECK(text_of(sample.look({true, "pid 42 on here since 2020-01-02T03:04:05Z"})) ==
          R"(1 of 3 cells done, 1 failed, 2 left, about 1 min 00 s for one slot
outcomes: 1 crash, 1 not_run
running: small, context 128, batch 4, forward (attempt 2), for 12 s
a run is going on: pid 42 since 2020-01-02T03:04:05Z; last record 12 s ago
)");
    // One that has the lock and did not say so yet.
    CHECK(contains(text_of(sample.look({true, ""})), "a run is going on; last record 12 s ago\n"));
}

TEST_CASE("what an earlier run left open does not run") {
    const Sample sample;
    const char* const ended =
        R"(1 of 3 cells done, 1 failed, 2 left, about 1 min 00 s for one slot
outcomes: 1 crash, 1 interrupted, 1 not_run
no run is going on; the same `isosweep run` goes on
)";
    CHECK(text_of(sample.look({false, ""})) == ended);
    CHECK(text_of(sample.look({false, "pid 42 on here since 2020-01-02T03:04:05Z"})) == ended);
    // A later run has begun, and no cell yet.
    CHECK(contains(text_of(sample.look({true, "pid 42 on here since 2999-01-02T03:04:05Z"})),
                   "outcomes: 1 crash, 1 interrupted, 1 not_run\na run is going on: pid 42"));
}

TEST_CASE("of a run on another machine it is said what is known and what is not") {
    const Sample sample;
    const LockState lock{false, "pid 42 on node7 since 2020-01-02T03:04:05Z"};
    const SweepStatus likely = sample.look(lock);
    CHECK(likely.run == RunState::likely);
    CHECK(likely.running.size() == 1);
    CHECK(contains(text_of(likely),
                   "a run seems to go on: pid 42 on node7 since 2020-01-02T03:04:05Z; its lock "
                   "cannot be seen from this machine; last record 12 s ago\n"));
    const SweepStatus unlikely = sample.look(lock, 11'000);
    CHECK(unlikely.run == RunState::unlikely);
    CHECK(contains(text_of(unlikely),
                   "a run has probably ended: pid 42 on node7 since 2020-01-02T03:04:05Z; nothing "
                   "was recorded for longer than a cell may take; last record 12 s ago\n"));
    // It has just begun, and the journal is of an earlier one.
    CHECK(sample.look({false, "pid 42 on node7 since 2999-01-02T03:04:05Z"}, 11'000).run ==
          RunState::likely);
    // A launcher may queue for as long as it likes.
    CHECK(sample.look(lock, std::nullopt).run == RunState::likely);
    // Where the kernel knows of the lock, it is sure.
    CHECK(contains(text_of(sample.look({true, lock.holder})),
                   "a run is going on: pid 42 on node7 since"));
    CHECK(sample.look({false, "scribble"}).run == RunState::none);
}

TEST_CASE("a sweep that has nothing left to do has ended, whoever ran it") {
    Sample sample;
    Attempt ok;
    ok.outcome.status = Status::ok;
    sample.journal.write_end(sample.rows[1].key, ok);
    sample.journal.write_end(sample.rows[2].key, ok);
    const SweepStatus status = sample.look({false, "pid 42 on node7 since 2020-01-02T03:04:05Z"});
    CHECK(text_of(status) ==
          "3 of 3 cells done, 1 failed, 0 left\noutcomes: 2 ok, 1 crash\nno run is going on\n");
    CHECK(status_line(status) == "3 of 3 cells done, 1 failed, 0 left; no run is going on");
}

TEST_CASE("the status as an object") {
    const Sample sample;
    SweepStatus status = sample.look({false, "pid 42 on node7 since 2020-01-02T03:04:05Z"});
    status.journal = "j";
    CHECK(status_json(status) == boost::json::parse(R"({
        "journal": "j",
        "run": {"state": "likely", "pid": 42, "host": "node7", "since": "2020-01-02T03:04:05Z",
                "is_here": false},
        "total": 3, "done": 1, "failed": 1, "left": 2, "skipped": 0,
        "outcomes": {"crash": 1, "not_run": 1},
        "running": [{"key": ")" + sample.rows[1].key +
                                                    R"(",
                     "cell": "small, context 128, batch 4, forward", "attempt": 2,
                     "running_ms": 12000}],
        "left_ms": 60000, "last_record_age_ms": 12000})"));
    // What is not known is not there.
    const Journal none = Journal::watch(sample.folder / "none");
    const auto unborn = status_json(make_status(sample.rows, none, {{}, "here", 1000, {}}));
    CHECK_FALSE(unborn.contains("left_ms"));
    CHECK_FALSE(unborn.contains("last_record_age_ms"));
    CHECK(boost::json::serialize(unborn.at("run")) == R"({"state":"none"})");
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE("status follows a sweep that runs elsewhere until it ends, a line per change") {
    Sandbox sandbox("axis.behaviour = ok, slow:2500, exit:3\n");
    const pid_t run = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until([&] { return sandbox.answers() == 1; });
    const pid_t lines = sandbox.start_program(following("", "lines"));
    const pid_t objects = sandbox.start_program(following("--json", "objects"));
    CHECK(sandbox.wait(run).exit_code == 1);
    CHECK(sandbox.wait(lines).exit_code == 0);
    CHECK(sandbox.wait(objects).exit_code == 0);

    const auto said = lines_of(sandbox.file("lines"));
    REQUIRE(said.size() >= 2);
    CHECK(contains(said.front(), "1 of 3 cells done, 0 failed, 2 left"));
    CHECK(contains(said.front(), "; running: tiny, context 512, batch 4, forward, behaviour slow"));
    CHECK(said.back() == "3 of 3 cells done, 1 failed, 0 left; no run is going on");
    CHECK(std::adjacent_find(said.begin(), said.end()) == said.end());

    const auto sent = lines_of(sandbox.file("objects"));
    const auto first = boost::json::parse(sent.front()).as_object();
    CHECK(first.at("run").at("state") == "running");
    CHECK(first.at("run").at("is_here") == true);
    CHECK(first.at("run").at("pid") == run);
    const auto last = boost::json::parse(sent.back()).as_object();
    CHECK(last.at("run").at("state") == "none");
    CHECK(boost::json::serialize(last.at("outcomes")) == R"({"ok":2,"error":1})");
}

TEST_CASE("on a terminal the status that is followed is drawn anew within its width") {
    Sandbox sandbox("axis.behaviour = ok, slow:2500\naxis.a_long_name_of_an_axis = 123456789\n");
    const pid_t run = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until([&] { return sandbox.answers() == 1; });
    const std::string screen = sandbox.run_on_terminal({"status", "x.cfg", "--follow"}).err;
    sandbox.wait(run);
    CHECK(contains(screen, "1 of 2 cells done"));
    CHECK(contains(screen, "\x1b[4A\x1b[J"));
    CHECK(contains(screen, "no run is going on\r\n"));
    for (const std::string& line : lines_of(screen))
        CHECK(line.size() <= 80 + std::string("\x1b[4A\x1b[J").size());
}

TEST_CASE("of a sweep on another machine the status says what its journal and its lock tell") {
    Sandbox sandbox("axis.behaviour = ok, slow:60000\n");
    const pid_t run = sandbox.start({"run", "x.cfg"});
    // Not while it starts a worker, to which it would leave its lock for a moment.
    sandbox.wait_until([&] {
        const std::string journal = sandbox.file("results/x/journal.jsonl");
        const std::string worker = R"("record":"worker")";
        return contains(journal, "slow:60000") && journal.rfind(worker) > journal.find(worker);
    });
    ::kill(run, SIGKILL);
    sandbox.wait(run);
    CHECK(contains(sandbox.file("results/x/lock"), "pid " + std::to_string(run)));
    CHECK(contains(sandbox.run({"status", "x.cfg"}).out, "outcomes: 1 ok, 1 interrupted\nno run"));

    write_file(sandbox.path("results/x/lock"), "pid 4711 on node7 since 2000-01-01T00:00:00Z\n");
    const Ran elsewhere = sandbox.run({"status", "x.cfg"});
    CHECK(elsewhere.exit_code == 0);
    CHECK(contains(elsewhere.out, "1 of 2 cells done, 0 failed, 1 left"));
    CHECK(
        contains(elsewhere.out, "\nrunning: tiny, context 512, batch 4, forward, behaviour slow"));
    CHECK(contains(elsewhere.out, "a run seems to go on: pid 4711 on node7 since 2000-01-01"));

    // The same long ago: following it ends at once.
    write_file(sandbox.path("results/x/journal.jsonl"),
               std::regex_replace(sandbox.file("results/x/journal.jsonl"),
                                  std::regex(R"re("(time|created)":"\d{4})re"), "\"$1\":\"2001"));
    CHECK(contains(sandbox.run({"status", "x.cfg", "--follow"}).out,
                   "; a run has probably ended: pid 4711 on node7"));
    const Ran json = sandbox.run({"status", "x.cfg", "--json"});
    CHECK(boost::json::parse(json.out).at("run").at("state") == "unlikely");
    CHECK(sandbox.run({"status", "x.cfg", "--launcher", "env"}).out.find("probably") ==
          std::string::npos);
}

TEST_CASE("a run that has ended no longer says that it holds its output") {
    Sandbox sandbox("axis.behaviour = slow:300, slow:301\n");
    CHECK(sandbox.sweep({"--axis.behaviour", "ok"}).exit_code == 0);
    CHECK(sandbox.file("results/x/lock").empty());
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until(
        [&] { return contains(sandbox.file("results/x/journal.jsonl"), "slow:300"); });
    ::kill(pid, SIGINT);
    CHECK(sandbox.wait(pid).signal == SIGINT);
    CHECK(sandbox.file("results/x/lock").empty());
}

TEST_CASE("the flags of status take no value") {
    Sandbox sandbox("");
    const Ran ran = sandbox.run({"status", "x.cfg", "--json", "yes"});
    CHECK(ran.exit_code == 2);
    CHECK(ran.err == "isosweep: --json: takes no value, got yes\n");
    CHECK(sandbox.run({"run", "x.cfg", "--follow"}).exit_code == 2);
}

TEST_SUITE_END();
