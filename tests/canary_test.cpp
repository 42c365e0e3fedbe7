// Canaries between blocks of cells, the order of a sweep, and what is done about a drift.
#include "orchestrator/canary.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <set>

#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

PlannedCell planned(const Cell& cell) { return {key_of(cell), cell}; }

Cell cell_of(std::int64_t context, PassType pass_type = PassType::forward) {
    Cell cell;
    cell.context_length = context;
    cell.pass_type = pass_type;
    return cell;
}

/// A journal in which one slot measures canaries and cells as told.
struct Sample {
    Sample() : journal(Journal::open(folder / "j")) {
        Setting setting;
        setting.device = "cpu";
        journal.write_header(setting);
        journal.write_worker({"worker", 1, 1, 0, ""});
    }
    void canary(double ms) {
        journal.write_canary("worker", {{"model_size", "small"}}, {ms, ms, ms});
    }
    void measure(std::int64_t context, int number = 1, Status status = Status::ok,
                 const std::string& token = "worker") {
        const PlannedCell cell = planned(cell_of(context));
        if (number == 1) rows.push_back(cell);
        Attempt attempt;
        attempt.number = number;
        attempt.token = token;
        attempt.outcome.status = status;
        if (status == Status::ok) attempt.outcome.measurement = {{"samples_ms", {1.5, 1.5}}};
        journal.write_start(cell.key, number, "n", token, {});
        journal.write_end(cell.key, attempt);
    }
    std::optional<double> ratio(std::size_t row) const {
        return canary_ratio(journal, *journal.history(rows[row].key).recorded);
    }
    std::string drifted() const {
        std::string text;
        for (const DriftedCell& one : drifted_cells(rows, journal))
            text += std::to_string(one.cell.cell.context_length) + ":" +
                    std::to_string(one.attempt) + " ";
        return text;
    }

    TempFolder folder;
    Journal journal;
    std::vector<PlannedCell> rows;
};

/// The records of a sandbox's journal in short: "C" for a canary, "d" for a drift, else the
/// number of the attempt that ended.
std::string course_of(const Sandbox& sandbox) {
    std::string course;
    const std::string text = sandbox.file("results/x/journal.jsonl");
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
        const std::string line = text.substr(at, text.find('\n', at) - at);
        if (contains(line, R"("record":"canary")")) course += 'C';
        if (contains(line, R"("record":"drift")")) course += 'd';
        if (contains(line, R"("record":"end")"))
            course += line[line.find(R"("attempt":)") + std::string(R"("attempt":)").size()];
    }
    return course;
}

}  // namespace

TEST_CASE("the canary is the cheapest cell, made steady for our own worker") {
    Cell small = cell_of(128, PassType::train_step);
    small.activation_checkpointing = true;
    small.passes.pipelined = true;
    small.replicate = 2;
    const std::vector<PlannedCell> plan = {planned(cell_of(2048)), planned(small),
                                           planned(cell_of(1024, PassType::forward_backward))};
    const auto gpu = choose_canary(plan, Device::cuda, true);
    REQUIRE(gpu);
    CHECK(describe(*gpu) ==
          "small, context 128, batch 4, train_step, cuda graph on, warmup steps auto, measure "
          "steps auto, cuda, passes none");
    const auto cpu = choose_canary(plan, Device::cpu, true);
    CHECK_FALSE(cpu->cuda_graph);
    CHECK(cpu->device == Device::cpu);
    // What another worker knows of is not ours to say.
    CHECK(*choose_canary(plan, Device::cpu, false) == on_device(small, Device::cpu));
    CHECK_FALSE(choose_canary({}, Device::cpu, true));
}

TEST_CASE("the canary is one of the GPU's cells where there is a GPU") {
    Cell host = cell_of(64);
    host.device = Device::cpu;
    const std::vector<PlannedCell> plan = {planned(host), planned(cell_of(128))};
    CHECK(choose_canary(plan, Device::cuda, true)->context_length == 128);
    CHECK(choose_canary(plan, Device::cpu, true)->context_length == 64);
    Cell tf32 = host;
    tf32.precision = Precision::tf32;
    CHECK(choose_canary({planned(tf32)}, Device::cpu, true)->precision == Precision::fp32);
}

TEST_CASE("a canary comes before the first cell, after each block and behind the last cell") {
    CHECK(is_canary_due({.was_tried = false}, true));
    CHECK_FALSE(is_canary_due({.was_tried = true, .cells_since = canary_block - 1}, true));
    CHECK(is_canary_due({.was_tried = true, .cells_since = canary_block}, true));
    CHECK(is_canary_due({.was_tried = true, .cells_since = 1}, false));
    CHECK_FALSE(is_canary_due({.was_tried = true, .cells_since = 0}, false));
    // A run with nothing to do ends the block of the one before, and else does nothing.
    CHECK(is_canary_due({.was_tried = false, .cells_since = 3}, false));
    CHECK_FALSE(is_canary_due({.was_tried = false}, false));
    CHECK(is_canary_due({.was_tried = true, .cells_since = canary_block, .failures = 2}, true));
    CHECK_FALSE(
        is_canary_due({.was_tried = true, .cells_since = canary_block, .failures = 3}, true));
}

TEST_CASE("a cell's canary ratio is that of the two around it which is further from the others") {
    Sample sample;
    sample.measure(1);
    sample.canary(100);
    sample.measure(2);
    sample.canary(101);
    sample.measure(3);
    sample.canary(100);
    sample.measure(4);
    sample.canary(90);
    sample.measure(5);
    sample.canary(100);
    sample.measure(6);
    CHECK_FALSE(sample.ratio(0));  // nothing before it
    CHECK(*sample.ratio(1) == doctest::Approx(1.01));
    CHECK(*sample.ratio(2) == doctest::Approx(1.01));
    CHECK(*sample.ratio(3) == doctest::Approx(0.9));
    CHECK(*sample.ratio(4) == doctest::Approx(0.9));
    CHECK_FALSE(sample.ratio(5));  // nothing behind it yet
    CHECK(sample.drifted() == "4:1 5:1 ");
}

TEST_CASE("two canaries that differ show a drift, whichever of them was right") {
    Sample sample;
    sample.canary(100);
    sample.measure(1);
    sample.canary(106);
    CHECK(sample.drifted() == "1:1 ");
}

TEST_CASE("a drifted cell is measured again once, and a killed sweep goes on with that") {
    Sample sample;
    sample.canary(100);
    sample.measure(1);
    sample.measure(2, 1, Status::oom_gpu);
    sample.canary(200);
    sample.canary(100);
    CHECK(sample.drifted() == "1:1 ");  // what was not measured has no time in doubt
    sample.journal.write_drift(sample.rows[0].key, 1, 2.0);
    CHECK(sample.drifted() == "1:1 ");  // killed before its second attempt
    sample.measure(1, 2, Status::interrupted);
    CHECK(sample.drifted() == "1:1 ");
    sample.measure(1, 3);
    sample.canary(200);
    CHECK(is_drift(*sample.ratio(0)));  // again, and that is what its row says
    CHECK(sample.drifted().empty());
    const Journal again = Journal::read(sample.folder / "j");
    CHECK(again.history(sample.rows[0].key).drifted_attempt == 1);
    CHECK(again.canaries("slot 0").medians_ms == std::vector<double>{100, 200, 100, 200});
    CHECK(drifted_cells(sample.rows, again).empty());
}

TEST_CASE("each slot has its own canaries") {
    Sample sample;
    sample.journal.write_worker({"other", 2, 2, 1, "GPU-1"});
    sample.canary(100);
    sample.measure(1);
    sample.journal.write_canary("other", {{"model_size", "small"}}, {50.0});
    sample.measure(2, 1, Status::ok, "other");
    sample.canary(100);
    CHECK(*sample.ratio(0) == 1);
    CHECK_FALSE(sample.ratio(1));
    CHECK(has_open_block({Slot{"GPU-1"}}, sample.journal));
    CHECK_FALSE(has_open_block({Slot{}}, sample.journal));
    CHECK_FALSE(has_open_block({Slot{"GPU-2"}}, sample.journal));
}

TEST_CASE("a shuffled order has every cell once and follows from keys and seed alone") {
    std::vector<PlannedCell> cells;
    for (int context = 1; context <= 40; ++context) cells.push_back(planned(cell_of(context)));
    const auto keys = [](const std::vector<PlannedCell>& in) {
        std::vector<std::string> all;
        for (const PlannedCell& cell : in) all.push_back(cell.key);
        return all;
    };
    const auto grid = keys(cells);
    CHECK(keys(in_order(cells, {})) == grid);
    const auto first = keys(in_order(cells, {.is_shuffled = true}));
    CHECK(first != grid);
    CHECK(first != keys(in_order(cells, {.is_shuffled = true, .seed = 2})));
    CHECK(std::set(first.begin(), first.end()) == std::set(grid.begin(), grid.end()));
    // Those that are left later stay in that order.
    std::vector<PlannedCell> left(cells.begin() + 7, cells.end());
    auto expected = first;
    for (int i = 0; i < 7; ++i) std::erase(expected, cells[static_cast<std::size_t>(i)].key);
    CHECK(keys(in_order(left, {.is_shuffled = true})) == expected);
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE("a shuffled sweep has the rows of the plan, and goes on in its own order when killed") {
    const std::string config =
        "context-length = 1..12\norder = shuffle:7\naxis.behaviour = slow:20\n";
    const std::string plan = "1 2 3 4 5 6 7 8 9 10 11 12";
    // The contexts as they were begun; one that was cut off and begun again counts once.
    const auto begun = [](const Sandbox& sandbox) {
        std::vector<std::string> order;
        const std::string text = sandbox.file("results/x/journal.jsonl");
        const std::string member = R"("context_length":)";
        for (std::size_t at = text.find(member); at != std::string::npos;
             at = text.find(member, at + 1)) {
            const std::string context = std::to_string(std::stoi(text.substr(at + member.size())));
            if (order.empty() || order.back() != context) order.push_back(context);
        }
        return join(order, " ");
    };
    Sandbox whole(config);
    CHECK(whole.sweep().exit_code == 0);
    CHECK(whole.column("context_length") == plan);
    CHECK(begun(whole) != plan);
    Sandbox killed(config);
    const pid_t pid = killed.start({"run", "x.cfg"});
    killed.wait_until([&] { return killed.answers() >= 4; });
    ::kill(pid, SIGKILL);
    killed.wait(pid);
    CHECK(killed.sweep().exit_code == 0);
    CHECK(begun(killed) == begun(whole));
    CHECK(killed.column("context_length") == plan);
}

TEST_CASE("an order that is none is refused with its key") {
    Sandbox sandbox("axis.behaviour = ok\n");
    CHECK(contains(sandbox.sweep({"--order", "shufle"}).err,
                   "expected grid, shuffle or shuffle:SEED; did you mean 'shuffle'?"));
    const Ran ran = sandbox.sweep({"--order", "shuffle:x"});
    CHECK(ran.exit_code == 2);
    CHECK(contains(ran.err, "order"));
}

TEST_CASE("canaries stand around blocks of ten cells, and are no rows") {
    for (const std::string isolation : {"process", "shared"}) {
        CAPTURE(isolation);
        Sandbox sandbox("context-length = 1..23\ncanary = on\nisolation = " + isolation);
        CHECK(sandbox.sweep().exit_code == 0);
        CHECK(course_of(sandbox) == "C1111111111C1111111111C111C");
        CHECK(sandbox.answers() == 27);
        std::string ones;
        for (int i = 0; i < 23; ++i) ones += (i > 0 ? " 1" : "1");
        CHECK(sandbox.column("canary_ratio") == ones);
        CHECK(sandbox.column("attempts") == ones);
        // Nothing is left to do.
        CHECK(sandbox.sweep().exit_code == 0);
        CHECK(sandbox.answers() == 27);
        // Further cells are measured with the canary that the sweep has had.
        CHECK(sandbox.sweep({"--context-length", "1..24"}).exit_code == 0);
        CHECK(course_of(sandbox) == "C1111111111C1111111111C111CC1C");
    }
}

TEST_CASE("what was measured while the machine drifted is measured again, once") {
    for (const std::string isolation : {"process", "shared"}) {
        CAPTURE(isolation);
        // The worker's pace by the number of its answers: slow from the 8th to the 20th.
        Sandbox sandbox(
            "context-length = 1..22\naxis.behaviour = paced:8-20\ncanary = on\n"
            "isolation = " +
            std::string(isolation));
        const Ran ran = sandbox.sweep();
        CHECK(ran.exit_code == 0);
        // The canaries are answers 1, 12, 23, ...: the second is slow, so both blocks around it are
        // in doubt, and the last two cells are not. That is found when no other cell is left.
        std::string course = course_of(sandbox);
        CHECK(std::erase(course, 'd') == 20);
        CHECK(course == "C1111111111C1111111111C1122222222C2222222222C22C");
        CHECK(contains(ran.err, "the machine drifted; cells to measure again: 20\n"));
        CHECK(contains(ran.err, "[42/42]"));
        CHECK(sandbox.column("status").find("ok ok ok") == 0);
        std::string attempts;
        std::string times;
        for (int row = 0; row < 22; ++row) {
            attempts += std::string(row > 0 ? " " : "") + (row < 20 ? "2" : "1");
            times += std::string(row > 0 ? " " : "") + "1.625";
        }
        CHECK(sandbox.column("attempts") == attempts);
        CHECK(sandbox.column("mean_time_ms") == times);  // the second measurement's
        CHECK(sandbox.column("check_flags").find("drift") == std::string::npos);
        CHECK(sandbox.column("failed_attempts").find_first_not_of("0 ") == std::string::npos);
        const std::size_t answers = sandbox.answers();
        CHECK(sandbox.sweep().exit_code == 0);
        CHECK(sandbox.answers() == answers);
    }
}

TEST_CASE("a drift that does not end is flagged, and costs each cell one further attempt") {
    Sandbox sandbox("context-length = 1..4\naxis.behaviour = slowing\ncanary = on\n");
    const Ran ran = sandbox.sweep({"--strict"});
    CHECK(ran.exit_code == 1);
    CHECK(course_of(sandbox) == "C1111Cdddd2222C");
    CHECK(sandbox.column("check_flags") == "drift drift drift drift");
    CHECK(sandbox.column("flags") == "   ");
    CHECK(contains(ran.err, "4 cells ok with flags, failed by --strict: drift (4)"));
    const std::size_t answers = sandbox.answers();
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.answers() == answers);
}

TEST_CASE("a killed sweep with canaries goes on: the next run's first canary ends the block") {
    Sandbox sandbox("context-length = 1..14\naxis.behaviour = slow:20\ncanary = on\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until([&] { return sandbox.answers() >= 5; });
    ::kill(pid, SIGKILL);
    sandbox.wait(pid);
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("canary_ratio") == "1 1 1 1 1 1 1 1 1 1 1 1 1 1");
    // Where all that lacks is the canary behind the last block, the same command measures it.
    const std::string journal = sandbox.file("results/x/journal.jsonl");
    write_file(sandbox.path("results/x/journal.jsonl"),
               journal.substr(0, journal.rfind(R"({"record":"canary")")));
    const std::size_t answers = sandbox.answers();
    CHECK(contains(sandbox.column("canary_ratio"), "1 1"));
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.answers() == answers + 1);
    CHECK(sandbox.column("canary_ratio") == "1 1 1 1 1 1 1 1 1 1 1 1 1 1");
}

TEST_CASE("a canary that fails is told, given up after three times, and costs no cell anything") {
    // The cheapest cell is the first, and fails as a canary, too.
    Sandbox sandbox("context-length = 1..32\naxis.behaviour = report:oom_gpu, ok\ncanary = on\n");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.err, "the canary was not measured: oom_gpu: told to"));
    CHECK(course_of(sandbox) == std::string(64, '1'));
    CHECK(sandbox.answers() == 64 + 3);
    CHECK(sandbox.column("canary_ratio").find('1') == std::string::npos);
    // What was measured without canaries is not run again for them.
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.answers() == 64 + 3);
}

TEST_CASE("Ctrl-C ends a sweep without a last canary") {
    Sandbox sandbox("context-length = 1..5\naxis.behaviour = slow:100\ncanary = on\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until([&] { return sandbox.answers() == 2; });
    ::kill(pid, SIGINT);
    CHECK(sandbox.wait(pid).signal == SIGINT);
    CHECK(course_of(sandbox).substr(0, 2) == "C1");
    CHECK(course_of(sandbox).find('C', 1) == std::string::npos);
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(contains(sandbox.column("canary_ratio"), "1 1 1 1 1"));
}

TEST_CASE("every GPU has canaries, in a process of their own behind the gate") {
    const auto sandbox = Sandbox::with_gpu("context-length = 1..6\ncanary = on\n");
    sandbox->set_variable("FAKE_NVML_COUNT=2");
    sandbox->set_variable("CUDA_VISIBLE_DEVICES=0,1");
    const Ran ran = sandbox->sweep();
    CHECK_MESSAGE(ran.exit_code == 0, ran.err);
    const Journal journal = Journal::read(sandbox->path("results/x/journal.jsonl"));
    for (const char* const gpu : {"GPU-fake-0", "GPU-fake-1"}) {
        CAPTURE(gpu);
        CHECK(journal.canaries(gpu).medians_ms.size() >= 1);
        CHECK(journal.canaries(gpu).cells_since == 0);
    }
    CHECK(journal.canary_cell().at("cuda_graph") == "on");
    CHECK(sandbox->column("canary_ratio") == "1 1 1 1 1 1");
}

TEST_SUITE_END();
