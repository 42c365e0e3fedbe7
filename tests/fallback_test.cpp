// What is run in the place of a cell that lacks memory, and what is not run since a smaller one
// does.
#include "orchestrator/fallback.h"

#include <doctest/doctest.h>

#include <map>

#include "orchestrator/prune.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

Cell cell(std::int64_t batch, std::int64_t context = 512) {
    Cell cell;
    cell.batch_size = batch;
    cell.context_length = context;
    return cell;
}

/// Follows a rule to its end where `status` tells what becomes of each cell.
/// \returns "batch x context" of the cells tried, and in brackets of the one that fits
std::string tried(const FallbackRule& rule, const Cell& requested,
                  const std::function<Status(const Cell&)>& status) {
    std::map<std::string, Status> known;
    const PlannedCell start{key_of(requested), requested};
    FallbackChain chain;
    do {
        if (chain.next) known[chain.next->key] = status(chain.next->cell);
        chain = follow(rule, start, status(requested), [&](const std::string& key) {
            const auto found = known.find(key);
            return found == known.end() ? std::nullopt : std::optional(found->second);
        });
    } while (chain.next && known.size() < 100);
    const auto name = [](const Cell& one) {
        return std::to_string(one.batch_size) + "x" + std::to_string(one.context_length) +
               (one.activation_checkpointing ? "c" : "") +
               (one.precision == Precision::bf16 ? "b" : "");
    };
    std::string text;
    for (const PlannedCell& one : chain.tried) text += name(one.cell) + " ";
    return text + "(" + (chain.fits ? name(chain.fits->cell) : "") + ")";
}

/// A GPU with room for so many tokens.
std::function<Status(const Cell&)> room_for(std::int64_t tokens) {
    return [tokens](const Cell& one) {
        if (one.activation_checkpointing && one.pass_type == PassType::forward)
            return Status::unsupported;
        const std::int64_t room = tokens * (one.precision == Precision::bf16 ? 2 : 1);
        return one.batch_size * one.context_length <= room ? Status::ok : Status::oom_gpu;
    };
}

}  // namespace

TEST_CASE("fallback steps add up, each to its floor, and stop at the first cell that fits") {
    const FallbackRule rule = parse_fallback(
        "batch-size/2, context-length/2>=128, activation-checkpointing, precision:bf16");
    CHECK(tried(rule, cell(4), room_for(5000)) == "()");
    CHECK(tried(rule, cell(4), room_for(1024)) == "2x512 (2x512)");
    CHECK(tried(rule, cell(4), room_for(300)) == "2x512 1x512 1x256 (1x256)");
    CHECK(tried(rule, cell(5), room_for(512)) == "2x512 1x512 (1x512)");
    // Checkpointing a forward pass is unsupported: the step is taken back.
    CHECK(tried(rule, cell(1), room_for(64)) == "1x256 1x128 1x128c 1x128b (1x128b)");
    CHECK(tried(rule, cell(1), room_for(1)) == "1x256 1x128 1x128c 1x128b ()");
    Cell training = cell(1, 128);
    training.pass_type = PassType::train_step;
    CHECK(tried(rule, training, room_for(64)) == "1x128c 1x128cb (1x128cb)");
}

TEST_CASE("only want of memory leads to a fallback, and on from one") {
    const FallbackRule rule = parse_fallback("batch-size/2");
    for (const Status status : {Status::ok, Status::crash, Status::timeout, Status::error,
                                Status::oom_host, Status::unsupported, Status::invalid_result})
        CHECK(tried(rule, cell(4), [&](const Cell&) { return status; }) == "()");
    CHECK(tried(rule, cell(8), [](const Cell& one) {
              return one.batch_size == 8 ? Status::oom_gpu : Status::crash;
          }) == "4x512 ()");
}

TEST_CASE("a search finds the largest value that fits") {
    const FallbackRule rule = parse_bisect("batch-size");
    CHECK(tried(rule, cell(4), room_for(std::int64_t{4} * 512)) == "8x512 6x512 5x512 (4x512)");
    CHECK(tried(rule, cell(4), room_for(std::int64_t{23} * 512)) ==
          "8x512 16x512 32x512 24x512 20x512 22x512 23x512 (23x512)");
    CHECK(tried(rule, cell(16), room_for(std::int64_t{3} * 512)) ==
          "8x512 4x512 2x512 3x512 (3x512)");
    CHECK(tried(rule, cell(2), room_for(100)) == "1x512 ()");
    CHECK(tried(rule, cell(2), [](const Cell& one) {
              return one.batch_size > 2 ? Status::timeout : Status::ok;
          }) == "4x512 ()");
    for (std::int64_t room = 1; room < 70; ++room)
        for (std::int64_t start = 1; start < 20; ++start) {
            const std::string text = tried(rule, cell(start, 1), room_for(room));
            CHECK(text.ends_with("(" + std::to_string(room) + "x1)"));
        }
}

TEST_CASE("a rule that makes no sense is refused with what was expected") {
    const auto problem = [](const std::string& text) {
        try {
            parse_fallback(text);
        } catch (const BadValue& bad) {
            return std::string(bad.what());
        }
        return std::string("fine");
    };
    CHECK(problem("none") == "fine");
    CHECK(problem("batch-sizes/2") == "fine");
    CHECK(contains(problem("batch-siz/2"), "did you mean 'batch-size'"));
    CHECK(contains(problem("batch-size/1"), "2"));
    CHECK(contains(problem("precision/2"), "expected one of batch-size, context-length"));
    CHECK(contains(problem("precision"), "expected precision:VALUE"));
    CHECK(contains(problem("precision:fp8"), "fp32, tf32, bf16"));
    CHECK(contains(problem("model-size:small"), "in place of 'model-size'"));
    CHECK(contains(problem("batch-size/2,,cuda-graph"), "expected a value between the commas"));
    Sandbox sandbox("fallback = batch-siz/2\n");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 2);
    CHECK(contains(ran.err, "x.cfg:5: fallback = 'batch-siz/2': expected one of"));
}

TEST_CASE("what needs at least as much memory as another cell") {
    const Cell base = cell(4, 512);
    const auto with = [&](const std::function<void(Cell&)>& change) {
        Cell other = base;
        change(other);
        return other;
    };
    const auto no_less = [&](const std::function<void(Cell&)>& change) {
        return needs_as_much_memory(with(change), base);
    };
    CHECK(no_less([](Cell&) {}));
    CHECK(no_less([](Cell& c) { c.batch_size = 5; }));
    CHECK_FALSE(no_less([](Cell& c) { c.batch_size = 3; }));
    CHECK_FALSE(no_less([](Cell& c) { c.batch_size = 64, c.context_length = 511; }));
    CHECK(no_less([](Cell& c) { set_model(c, "large", *find_model_config("large")); }));
    CHECK_FALSE(no_less([](Cell& c) { set_model(c, "tiny", *find_model_config("tiny")); }));
    CHECK(no_less([](Cell& c) { c.pass_type = PassType::train_step; }));
    CHECK(no_less([](Cell& c) { c.seed = 2, c.replicate = 3, c.warmup_steps = 0; }));
    CHECK(no_less([](Cell& c) { c.gpu_memory_limit = {1 << 20}; }));
    CHECK_FALSE(no_less([](Cell& c) { c.activation_checkpointing = true; }));
    CHECK_FALSE(no_less([](Cell& c) { c.precision = Precision::bf16; }));
    CHECK_FALSE(no_less([](Cell& c) { c.kernels = Kernels::fused; }));
    CHECK_FALSE(no_less([](Cell& c) { c.cuda_graph = true; }));
    CHECK_FALSE(no_less([](Cell& c) { c.custom["x"] = 1; }));
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE("a cell that lacks memory stays so, and its fallbacks have rows of their own") {
    for (const char* isolation : {"process", "shared"}) {
        CAPTURE(isolation);
        Sandbox sandbox(
            "axis.behaviour = \"oom_above:300\"\ncontext-length = 128, 512\nbatch-size = 2, 4\n"
            "fallback = batch-size/2, context-length/2>=128\nisolation = " +
            std::string(isolation) + "\n");
        const Ran ran = sandbox.sweep();
        CHECK_MESSAGE(ran.exit_code == 0, ran.err);
        // 2x128 fits; 4x128 falls back to it, which is planned; 2x512 and 4x512 to 1x256.
        CHECK(sandbox.column("status") == "ok oom_gpu oom_gpu oom_gpu oom_gpu ok");
        CHECK(sandbox.column("batch_size") == "2 4 2 4 1 1");
        CHECK(sandbox.column("context_length") == "128 128 512 512 512 256");
        const Table table = read_csv(sandbox.path("results/x.csv").string());
        const auto at = [&](std::size_t row, const char* column) {
            return std::get<std::string>(table.at(row, column));
        };
        CHECK(at(0, "fallback_key") == "");
        CHECK(at(1, "fallback_key") == at(0, "key"));
        CHECK(at(2, "fallback_key") == at(5, "key"));
        CHECK(at(3, "fallback_key") == at(5, "key"));
        CHECK(at(3, "fallback_of") == "");
        CHECK(at(4, "fallback_of") == at(2, "key"));
        CHECK(at(5, "fallback_of") == at(2, "key"));
        CHECK(sandbox.answers() == 6);
        CHECK(contains(ran.err, "; what fits: tiny, context 256, batch 1, forward"));
        // Nothing is left to do; without the rule the rows are still there.
        const std::string csv = sandbox.file("results/x.csv");
        CHECK(sandbox.sweep().exit_code == 0);
        CHECK(sandbox.sweep({"--fallback", "none"}).exit_code == 0);
        CHECK(sandbox.answers() == 6);
        CHECK(sandbox.file("results/x.csv") == csv);
        CHECK(contains(sandbox.run({"report", "x.cfg"}).out, "256"));
        CHECK(contains(sandbox.run({"status", "x.cfg"}).out, "6 of 6 cells done"));
        const Ran only = sandbox.sweep({"--only", at(5, "key")});
        CHECK(contains(only.out, "\"status\":\"ok\""));
    }
}

TEST_CASE("retry --fallback plans fallbacks for what lacked memory, and runs nothing again") {
    Sandbox sandbox(
        "axis.behaviour = \"oom_above:600\"\ncontext-length = 512\nbatch-size = 1, 4\n");
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.answers() == 2);
    const Ran ran =
        sandbox.run({"retry", "x.cfg", "--status", "oom_gpu", "--fallback", "batch-size/2"});
    CHECK_MESSAGE(ran.exit_code == 0, ran.err);
    // 2x512 lacks memory, too; 1x512 is planned and has its outcome.
    CHECK(sandbox.column("status") == "ok oom_gpu oom_gpu");
    CHECK(sandbox.column("attempts") == "1 1 1");
    CHECK(sandbox.answers() == 3);
    const std::string keys = sandbox.column("key");
    CHECK(contains(sandbox.file("results/x.csv"), keys.substr(0, 16)));
    CHECK(sandbox.run({"retry", "x.cfg", "--status", "oom_gpu"}).exit_code == 0);
    CHECK(sandbox.answers() == 5);  // both that lacked memory
}

TEST_CASE("a fault of the GPU starts no fallback") {
    Sandbox sandbox("axis.behaviour = \"fault_above:10\"\nfallback = batch-size/2\nretry = none\n");
    CHECK(sandbox.sweep().exit_code == 1);
    CHECK(sandbox.column("status") == "crash");
}

TEST_CASE("a fallback that was broken off is run by the same command again") {
    Sandbox sandbox(
        "axis.behaviour = \"oom_above:1024\"\nfallback = batch-size/2, context-length/2\n");
    const pid_t pid = sandbox.start({"run", "x.cfg", "--max-failures", "1"});
    sandbox.wait_until([&] { return sandbox.answers() >= 1; });
    ::kill(pid, SIGKILL);
    sandbox.wait(pid);
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("status") == "oom_gpu ok");
    CHECK(sandbox.answers() <= 3);
}

TEST_CASE("--bisect finds the largest batch that fits") {
    Sandbox sandbox("axis.behaviour = \"oom_above:3000\"\ncontext-length = 256, 512\n");
    const Ran ran = sandbox.sweep({"--bisect", "batch-size"});
    CHECK_MESSAGE(ran.exit_code == 0, ran.err);
    const Table table = read_csv(sandbox.path("results/x.csv").string());
    for (std::size_t row = 0; row < 2; ++row)
        for (std::size_t other = 0; other < table.row_count(); ++other)
            if (table.at(other, "key") == table.at(row, "fallback_key"))
                CHECK(std::get<std::string>(table.at(other, "batch_size")) ==
                      (row == 0 ? "11" : "5"));
    const std::size_t answers = sandbox.answers();
    CHECK(sandbox.sweep({"--bisect", "batch-size"}).exit_code == 0);
    CHECK(sandbox.answers() == answers);
    CHECK(sandbox.sweep({"--bisect", "batch-size", "--fallback", "batch-size/2"}).exit_code == 2);
}

TEST_CASE("prune skips what must lack memory and names the witness") {
    Sandbox sandbox(
        "axis.behaviour = \"oom_above:600\"\ncontext-length = 256, 512\nbatch-size = 2, 4, 8\n");
    const Ran ran = sandbox.sweep({"--prune"});
    CHECK(ran.exit_code == 0);
    CHECK(sandbox.column("status") == "ok oom_gpu skipped oom_gpu skipped skipped");
    CHECK(sandbox.answers() == 3);
    const Table table = read_csv(sandbox.path("results/x.csv").string());
    const auto at = [&](std::size_t row, const char* column) {
        return std::get<std::string>(table.at(row, column));
    };
    CHECK(at(2, "witness") == at(1, "key"));
    CHECK(contains(at(2, "error"), "needs at least the memory of " + at(1, "key")));
    CHECK(at(0, "witness") == "");
    CHECK_FALSE(contains(ran.err, "go on with"));
    CHECK(contains(sandbox.run({"status", "x.cfg"}).out, "3 of 6 cells done, 0 failed, 0 left"));
    // Without it they are run.
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("status") == "ok oom_gpu oom_gpu oom_gpu oom_gpu oom_gpu");
}

TEST_CASE("--learn-from prunes by an earlier run on such a GPU") {
    Sandbox sandbox("axis.behaviour = \"oom_above:600\"\nbatch-size = 2, 4\n");
    sandbox.use_fake_gpu();
    CHECK(sandbox.sweep().exit_code == 0);
    const Ran learned =
        sandbox.sweep({"--output", "results/y.csv", "--learn-from", "results/x/journal.jsonl"});
    CHECK(learned.exit_code == 0);
    CHECK(sandbox.column("status", "results/y.csv") == "skipped skipped");
    CHECK(contains(sandbox.column("error", "results/y.csv"), "in results/x/journal.jsonl"));
    CHECK(sandbox.answers() == 2);
    const Ran none = sandbox.sweep({"--output", "results/z.csv", "--learn-from", "nowhere"});
    CHECK(none.exit_code == 2);
    CHECK(contains(none.err, "expected the journal of an earlier run"));
    const Ran other = sandbox.sweep(
        {"--output", "results/w.csv", "--device", "cpu", "--learn-from", "results/x.csv"});
    CHECK(other.exit_code == 2);
    CHECK(contains(other.err, "was measured on 'Fake GPU (8.00 GiB)', this sweep is on ''"));
}

TEST_CASE("what is skipped leads on to its fallback") {
    Sandbox sandbox(
        "axis.behaviour = \"oom_above:600\"\nbatch-size = 2, 4, 8\nfallback = batch-size/2\n");
    CHECK(sandbox.sweep({"--prune"}).exit_code == 0);
    CHECK(sandbox.column("status") == "oom_gpu skipped skipped ok");
    CHECK(sandbox.column("batch_size") == "2 4 8 1");
    CHECK(sandbox.answers() == 2);
}

TEST_SUITE_END();
