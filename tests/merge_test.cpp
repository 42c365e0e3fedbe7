#include "orchestrator/merge.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <set>

#include "orchestrator/canary.h"
#include "orchestrator/errors.h"
#include "orchestrator/journal.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

Setting on_gpu(const std::string& gpu) {
    Setting setting;
    setting.isosweep = "0.1";
    setting.isolation = "process";
    setting.device = "cuda";
    setting.gpu = gpu;
    return setting;
}

Cell cell_of(std::int64_t context) {
    Cell cell;
    cell.context_length = context;
    return cell;
}

/// A journal in the making.
struct Shard {
    explicit Shard(const std::string& name, const std::string& gpu = "H200")
        : journal(Journal::open(folder() / name)) {
        if (journal.setting()) return;
        journal.write_header(on_gpu(gpu));
    }
    static const TempFolder& folder() {
        static const TempFolder kept;
        return kept;
    }
    void hello(const std::string& build) {
        journal.write_hello({{"torch", "2"}, {"build", build}});
    }
    void begin(std::int64_t context, const std::string& token, int number = 1) {
        journal.write_worker({token, 42, 4711, 0, "GPU-" + token, "boot", "group"});
        journal.write_start(key_of(cell_of(context)), number, "nonce-" + token, token,
                            to_json(cell_of(context)));
    }
    void end(std::int64_t context, const std::string& token, Status status, int number = 1,
             std::int64_t start_ms = 1000) {
        Attempt attempt;
        attempt.number = number;
        attempt.token = token;
        attempt.start_ms = start_ms;
        attempt.outcome.status = status;
        if (status != Status::ok) attempt.outcome.message = "why";
        if (status == Status::ok) attempt.outcome.measurement = {{"samples_ms", {1.5, 1.75}}};
        journal.write_end(key_of(cell_of(context)), attempt);
    }
    void run(std::int64_t context, const std::string& token, Status status, int number = 1,
             std::int64_t start_ms = 1000) {
        begin(context, token, number);
        end(context, token, status, number, start_ms);
    }
    MergeSource source() const { return {journal.file(), file_contents(journal.file())}; }

    Journal journal;
};

Journal read_back(const MergedJournal& merged) {
    write_file(Shard::folder() / "merged", merged.lines);
    return Journal::read(Shard::folder() / "merged");
}

MergedJournal join_all(const std::vector<const Shard*>& shards,
                       std::optional<Prefer> prefer = std::nullopt) {
    std::vector<MergeSource> sources;
    for (const Shard* shard : shards) sources.push_back(shard->source());
    return merge_journals(sources, prefer, 0);
}

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
}

std::string token_of(const Journal& journal, std::int64_t context) {
    return std::string(journal.history(key_of(cell_of(context))).recorded->token);
}

}  // namespace

TEST_CASE("shards of one sweep become one journal in the order of the shards") {
    Shard a("shards-a");
    Shard b("shards-b");
    for (Shard* shard : {&a, &b}) shard->hello("build");
    a.run(64, "a1", Status::ok);
    b.run(256, "b1", Status::oom_gpu);
    b.run(32, "b2", Status::ok);
    a.journal.write_probe({"GPU-a1", "H200", Precision::bf16, 700, {}});
    a.journal.write_fallback_rule("batch-size/2");
    b.journal.write_fallback_rule("batch-size/2");
    b.journal.write_fallback_rule("precision:bf16");
    const MergedJournal merged = join_all({&a, &b});
    CHECK_FALSE(merged.mixture);
    CHECK(merged.conflicts.empty());
    CHECK(merged.cells == std::vector<std::size_t>{1, 2});
    CHECK(merged.shared == 0);
    REQUIRE(merged.rows.size() == 3);
    CHECK(merged.rows[0].cell == cell_of(64));
    CHECK(merged.rows[1].cell == cell_of(256));
    CHECK(merged.rows[2].key == key_of(cell_of(32)));

    const Journal journal = read_back(merged);
    CHECK(journal.settings().size() == 1);
    CHECK(journal.history(key_of(cell_of(256))).recorded->status == Status::oom_gpu);
    CHECK(journal.fallback_rules() == std::vector<std::string>{"batch-size/2", "precision:bf16"});
    CHECK(journal.attainable_tflops("GPU-a1", Precision::bf16) == 700);
    // A worker is known to its rows and to nobody who looks for leftovers.
    CHECK(journal.worker("b1")->gpu_uuid == "GPU-b1");
    CHECK(journal.worker("b1")->origin == "b1");
    CHECK(journal.worker("b2")->origin == "b1");
    CHECK(journal.worker("b1")->group.empty());
    CHECK(journal.worker_with(42) == nullptr);
}

TEST_CASE("each attempt keeps the setting that it was measured with") {
    Shard a("settings-a", "H100");
    a.run(32, "a0", Status::spawn_failed);
    a.hello("build 1");
    a.run(64, "a1", Status::ok);
    a.hello("build 2");
    a.run(128, "a2", Status::ok);
    Shard b("settings-b", "H200");
    b.hello("build 3");
    b.run(256, "b1", Status::ok);
    Shard c("settings-c", "H100");
    c.hello("build 2");
    c.run(512, "c1", Status::ok);

    const auto measured_with = [](const Journal& journal, std::int64_t context) {
        const CellHistory& history = journal.history(key_of(cell_of(context)));
        const Setting& setting = journal.setting_of(*history.last);
        return setting.gpu + " " + setting.worker.value_or("none");
    };
    const MergedJournal merged = join_all({&a, &b, &c});
    REQUIRE(merged.mixture);
    CHECK(merged.mixture->difference.part == "GPU");
    CHECK(merged.mixture->difference.was == "H100");
    CHECK(merged.mixture->difference.is == "H200");
    CHECK(merged.mixture->other == b.journal.file());
    const Journal journal = read_back(merged);
    CHECK(measured_with(journal, 32) == "H100 build 1");
    CHECK(measured_with(journal, 64) == "H100 build 1");
    CHECK(measured_with(journal, 128) == "H100 build 2");
    CHECK(measured_with(journal, 256) == "H200 build 3");
    CHECK(measured_with(journal, 512) == "H100 build 2");
    // Merged once more, nothing is lost.
    const MergedJournal again = merge_journals({{"m", merged.lines}, b.source()}, std::nullopt, 0);
    CHECK(again.conflicts.empty());
    CHECK(again.shared == 1);
    CHECK(measured_with(read_back(again), 512) == "H100 build 2");
    CHECK(measured_with(read_back(again), 256) == "H200 build 3");
}

TEST_CASE("what was measured once is taken once, from the copy that went on") {
    Shard a("copies-a");
    a.run(64, "t1", Status::crash);
    a.run(128, "t2", Status::ok);
    std::filesystem::copy_file(a.journal.file(), Shard::folder() / "copies-b");
    Shard b("copies-b");
    b.run(64, "t3", Status::ok, 2);
    for (const auto& shards : {std::vector<const Shard*>{&a, &b}, {&b, &a}}) {
        const MergedJournal merged = join_all(shards);
        CHECK(merged.conflicts.empty());
        CHECK(merged.shared == 2);
        CHECK(count(merged.lines, R"("record":"end")") == 3);
        CHECK(count(merged.lines, "nonce-t1") == 1);
        CHECK(count(merged.lines, "nonce-t2") == 1);
        const Journal journal = read_back(merged);
        CHECK(token_of(journal, 64) == "t3");
        CHECK(journal.history(key_of(cell_of(64))).attempts == 2);
    }
}

TEST_CASE("canaries stay those of their sweep, also in a journal that is merged once more") {
    Shard a("canaries-a");
    Shard b("canaries-b");
    const std::vector<std::pair<Shard*, double>> sweeps = {{&a, 1.0}, {&b, 2.0}};
    for (const auto& [shard, time_ms] : sweeps) {
        const std::string name = shard == &a ? "a" : "b";
        // Of one place in both, on two machines.
        shard->journal.write_worker({name + "1", 42, 4711, 0, ""});
        shard->journal.write_canary(name + "1", to_json(cell_of(16)), {time_ms, time_ms});
        shard->journal.write_start(key_of(cell_of(shard == &a ? 64 : 128)), 1, name, name + "1",
                                   to_json(cell_of(shard == &a ? 64 : 128)));
        shard->end(shard == &a ? 64 : 128, name + "1", Status::ok);
        shard->journal.write_canary(name + "1", to_json(cell_of(16)),
                                    {time_ms * 1.5, time_ms * 1.5});
    }
    const auto ratio = [](const Journal& journal, std::int64_t context) {
        return canary_ratio(journal, *journal.history(key_of(cell_of(context))).recorded);
    };
    const auto expected_a = ratio(a.journal, 64);
    const auto expected_b = ratio(b.journal, 128);
    REQUIRE(expected_a);
    REQUIRE(expected_b);
    const MergedJournal merged = join_all({&a, &b});
    CHECK(ratio(read_back(merged), 64) == expected_a);
    CHECK(ratio(read_back(merged), 128) == expected_b);
    const MergedJournal again =
        merge_journals({b.source(), {"m", merged.lines}, a.source()}, std::nullopt, 0);
    CHECK(again.conflicts.empty());
    CHECK(count(again.lines, R"("record":"canary")") == 4);
    CHECK(ratio(read_back(again), 64) == expected_a);
    CHECK(ratio(read_back(again), 128) == expected_b);
}

TEST_CASE("an outcome goes before none, and what had not ended is run again") {
    Shard a("open-a");
    a.begin(64, "a1");
    a.run(128, "a2", Status::interrupted);
    a.begin(256, "a3");
    Shard b("open-b");
    b.run(64, "b1", Status::ok);
    b.run(128, "b2", Status::ok);
    const MergedJournal merged = join_all({&a, &b});
    CHECK(merged.conflicts.empty());
    CHECK(merged.cells == std::vector<std::size_t>{1, 2});
    CHECK(count(merged.lines, "nonce-a1") == 0);
    const Journal journal = read_back(merged);
    CHECK(token_of(journal, 64) == "b1");
    CHECK(token_of(journal, 128) == "b2");
    const CellHistory& begun = journal.history(key_of(cell_of(256)));
    CHECK_FALSE(begun.is_done());
    CHECK_FALSE(begun.open);
    CHECK(shown_status(begun) == Status::interrupted);
    CHECK(begun.attempts == 0);
    CHECK(begun.starts == 1);
    // The whole of it, once it has ended.
    a.end(256, "a3", Status::ok);
    const MergedJournal later = merge_journals({{"m", merged.lines}, a.source()}, std::nullopt, 0);
    CHECK(later.conflicts.empty());
    CHECK(token_of(read_back(later), 256) == "a3");
}

TEST_CASE("two outcomes of a cell are a conflict that a preference decides") {
    Shard a("conflict-a");
    a.run(64, "a1", Status::crash, 1, 3000);
    a.run(128, "a2", Status::ok, 1, 1000);
    Shard b("conflict-b");
    b.run(64, "b1", Status::ok, 1, 2000);
    b.run(128, "b2", Status::ok, 1, 2000);
    const MergedJournal merged = join_all({&a, &b});
    REQUIRE(merged.conflicts.size() == 2);
    CHECK(merged.conflicts[0].key == key_of(cell_of(64)));
    CHECK(merged.conflicts[0].cell == "small, context 64, batch 4, forward");
    CHECK(merged.conflicts[0].one == "crash (" + a.journal.file().string() + ")");
    CHECK(merged.conflicts[0].other == "ok 1.625 ms (" + b.journal.file().string() + ")");
    const auto taken = [&](Prefer prefer) {
        const MergedJournal decided = join_all({&a, &b}, prefer);
        CHECK(decided.conflicts.empty());
        const Journal journal = read_back(decided);
        CHECK(count(decided.lines, R"("record":"end")") == 2);
        return token_of(journal, 64) + " " + token_of(journal, 128);
    };
    CHECK(taken(Prefer::ok) == "b1 a2");
    CHECK(taken(Prefer::first) == "a1 a2");
    CHECK(taken(Prefer::last) == "b1 b2");
    CHECK(taken(Prefer::newest) == "a1 b2");
}

TEST_CASE("a journal that holds nothing is no hindrance, one alone of them is refused") {
    Shard a("empty-a");
    a.run(64, "a1", Status::ok);
    const std::string whole = a.source().lines;
    CHECK(merge_journals({{"e", ""}, {"a", whole}}, std::nullopt, 0).rows.size() == 1);
    CHECK_THROWS_WITH_AS(merge_journals({{"e", ""}}, std::nullopt, 0),
                         "e: there is nothing in this journal", UsageError);
    CHECK_THROWS_AS(merge_journals({{"b", whole + "scribble\n"}}, std::nullopt, 0), ResultsError);
    // What was skipped never began: it has no row before somebody plans it.
    Shard b("empty-b");
    b.run(64, "b1", Status::ok);
    b.end(128, "", Status::skipped, 0);
    const MergedJournal skipped = join_all({&b});
    CHECK(skipped.rows.size() == 1);
    CHECK(skipped.without_row == 1);
    CHECK(shown_status(read_back(skipped).history(key_of(cell_of(128)))) == Status::skipped);
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE(
    "merged shards are a sweep: run goes on with what is missing, status and report read it") {
    Sandbox sandbox("axis.behaviour = ok, report:oom_gpu\n");
    const auto shard = [&](const std::string& contexts, const std::string& name) {
        return sandbox.sweep({"--context-length", contexts, "--output", "results/" + name});
    };
    CHECK(shard("128", "a.csv").exit_code == 0);
    CHECK(shard("64", "b.csv").exit_code == 0);
    const Ran merged = sandbox.run({"merge", "results/a.csv", "results/b", "-o", "results/c.csv"});
    CHECK(merged.exit_code == 0);
    CHECK(merged.out.empty());
    CHECK(merged.err ==
          "from results/a.csv: 2 cells\nfrom results/b: 2 cells\n4 cells: 2 ok, 2 oom_gpu\n"
          "logs and scripts stay where they are, beside the journals that were merged\n"
          "go on with: isosweep run CONFIG --output results/c.csv\nwritten: results/c.csv\n");
    CHECK(sandbox.column("context_length", "results/c.csv") == "128 128 64 64");
    CHECK(sandbox.column("status", "results/c.csv") == "ok oom_gpu ok oom_gpu");
    CHECK(sandbox.column("key", "results/c.csv") ==
          sandbox.column("key", "results/a.csv") + " " + sandbox.column("key", "results/b.csv"));
    CHECK(contains(sandbox.run({"report", "results/c.csv"}).out, "1.625"));

    const std::size_t answers = sandbox.answers();
    CHECK(shard("64..256*2", "c.csv").exit_code == 0);
    CHECK(sandbox.answers() == answers + 2);
    CHECK(sandbox.column("context_length", "results/c.csv") == "64 64 128 128 256 256");
    CHECK(contains(
        sandbox
            .run({"status", "x.cfg", "--context-length", "64..256*2", "--output", "results/c.csv"})
            .out,
        "6 of 6 cells done, 0 failed, 0 left\noutcomes: 3 ok, 3 oom_gpu\n"));
    // A cell that is not ok has its script in the new place.
    const std::string key = sandbox.column("key", "results/b.csv").substr(17);
    CHECK(std::filesystem::exists(sandbox.path("results/c/cells/" + key + "/repro.sh")));
}

TEST_CASE("a conflict is named with both outcomes, and nothing is written before it is decided") {
    Sandbox sandbox("axis.behaviour = ok, crash_once\nretry = none\n");
    CHECK(sandbox.sweep({"--output", "a.csv"}).exit_code == 1);
    CHECK(sandbox.sweep({"--output", "b.csv"}).exit_code == 0);
    const std::string key = sandbox.column("key", "a.csv").substr(17);
    const Ran refused = sandbox.run({"merge", "a.csv", "b.csv", "-o", "c.csv"});
    CHECK(refused.exit_code == 2);
    CHECK(contains(refused.err, "  " + key +
                                    "  tiny, context 512, batch 4, forward, cpu, behaviour "
                                    "crash_once: crash (a/journal.jsonl), ok 1.625 ms "
                                    "(b/journal.jsonl)\n"));
    CHECK(contains(refused.err, "isosweep: 2 cells have two outcomes: take one with --prefer ok"));
    CHECK_FALSE(std::filesystem::exists(sandbox.path("c.csv")));
    CHECK_FALSE(std::filesystem::exists(sandbox.path("c")));
    const Ran merged = sandbox.run({"merge", "--prefer", "ok", "a.csv", "b.csv", "-o", "c.csv"});
    CHECK(merged.exit_code == 0);
    CHECK(contains(merged.err, "2 cells of several journals, each taken from one\n2 cells: 2 ok"));
    CHECK(sandbox.column("started_at", "c.csv").size() == 41);
    // c.csv holds a's first cell and b's second: both are known to it.
    const Ran known = sandbox.run({"merge", "c.csv", "b.csv", "--prefer", "ok", "-o", "d.csv"});
    CHECK(contains(known.err, "from c.csv: 2 cells\nfrom b.csv: 0 cells\n"));
}

TEST_CASE("a sweep that still runs is merged as far as it is, and is left in peace") {
    Sandbox sandbox("axis.behaviour = ok, slow:2000\n");
    const pid_t run = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until([&] {
        return sandbox.answers() == 1 &&
               contains(sandbox.file("results/x/journal.jsonl"), "slow:2000");
    });
    const auto apart = [&](const std::string& words) {
        return sandbox.wait(sandbox.start_program(
            {"/bin/sh", "-c", "exec '" ISOSWEEP_PROGRAM "' " + words + " 2>said"}));
    };
    CHECK(apart("merge results/x.csv -o results/c.csv").exit_code == 0);
    CHECK(contains(sandbox.file("said"), "results/x/journal.jsonl: a run is going on (pid " +
                                             std::to_string(run) + " on "));
    CHECK(sandbox.column("status", "results/c.csv") == "ok interrupted");
    CHECK(apart("run x.cfg --axis.behaviour ok --output results/c.csv").exit_code == 0);
    CHECK(sandbox.wait(run).exit_code == 0);
    CHECK(sandbox.column("status") == "ok ok");
    CHECK(sandbox.column("attempts") == "1 1");
}

TEST_CASE("merge says what it cannot do in one line") {
    Sandbox sandbox("axis.behaviour = ok\n");
    sandbox.sweep({"--output", "a.csv"});
    sandbox.sweep({"--output", "b.csv", "--isolation", "shared", "--context-length", "64"});
    const auto refused = [&](std::vector<std::string> words) {
        words.insert(words.begin(), "merge");
        const Ran ran = sandbox.run(words);
        CHECK(ran.exit_code == 2);
        CHECK(count(ran.err, "\n") == 1);
        return ran.err;
    };
    CHECK(contains(refused({}), "merge needs the sweeps to join"));
    CHECK(contains(refused({"a.csv"}), "merge needs the CSV to write, as in: -o results/c.csv"));
    CHECK(refused({"a.csv", "-o", "c.txt"}) ==
          "isosweep: --output = 'c.txt': expected a file NAME.csv\n");
    CHECK(refused({"none.csv", "-o", "c.csv"}) ==
          "isosweep: 'none.csv': expected a sweep: its CSV, its folder or its journal.jsonl\n");
    CHECK(refused({"a.csv", "a", "-o", "c.csv"}) == "isosweep: 'a': this journal is given twice\n");
    CHECK(refused({"a.csv", "-o", "b.csv"}) ==
          "isosweep: --output = 'b.csv': there is such a sweep already; choose another name\n");
    CHECK(contains(refused({"a.csv", "-o", "c.csv", "--prefer", "okay"}), "did you mean 'ok'?"));
    CHECK(contains(refused({"a.csv", "--outptu", "c.csv"}),
                   "unknown flag '--outptu' of merge; did you mean 'output'?"));
    CHECK(refused({"a.csv", "b.csv", "-o", "c.csv"}) ==
          "isosweep: a/journal.jsonl was measured with isolation 'process', b/journal.jsonl with "
          "'shared': have rows of both with --allow-mixed, or see what changed with `isosweep "
          "compare`\n");
    const Ran mixed = sandbox.run({"merge", "-o", "c.csv", "--allow-mixed", "a.csv", "b.csv"});
    CHECK(mixed.exit_code == 0);
    CHECK(sandbox.column("isolation", "c.csv") == "process shared");
    std::filesystem::create_directory(sandbox.path("d"));
    write_file(sandbox.path("d/mine"), "x");
    CHECK(contains(refused({"a.csv", "-o", "d.csv"}), "its folder d holds something else"));
}

TEST_CASE("kept sweeps of a real GPU are the same rows when they are merged") {
    const std::string reference = SOURCE_DIR "/results/reference/NVIDIA-H200/";
    const char* const sources[] = {"profiling_benchmarking_run_benchmarks", "reference_kernels"};
    Sandbox sandbox("");
    const Ran merged =
        sandbox.run({"merge", reference + sources[0] + ".csv", reference + sources[1], "-o",
                     "c.csv", "--allow-mixed", "--prefer", "first"});
    CAPTURE(merged.err);
    REQUIRE(merged.exit_code == 0);
    const Table joined = read_csv(sandbox.path("c.csv").string());
    std::map<std::string, std::size_t> rows;
    for (std::size_t row = 0; row < joined.row_count(); ++row)
        rows[std::get<std::string>(joined.at(row, "key"))] = row;
    std::set<std::string> seen;
    for (const char* source : sources) {
        const Table kept = read_csv(reference + source + ".csv");
        for (std::size_t row = 0; row < kept.row_count(); ++row) {
            const auto key = std::get<std::string>(kept.at(row, "key"));
            if (!seen.insert(key).second) continue;  // the first was preferred
            for (const char* column :
                 {"mean_time_ms", "std_time_ms", "peak_allocated_bytes", "status", "isolation",
                  "gpu", "driver", "torch", "worker_build", "isosweep_build", "gpu_uuid",
                  "started_at", "elapsed_ms", "attempt", "attempts"})
                CHECK_MESSAGE(joined.at(rows.at(key), column) == kept.at(row, column), column);
        }
    }
    CHECK(seen.size() == joined.row_count());
}

TEST_SUITE_END();
