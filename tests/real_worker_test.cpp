// The whole program with the real worker, on the CPU. The worker's place is in ISOSWEEP_WORKER.
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

TEST_SUITE_BEGIN("real worker");

namespace {

std::string worker() {
    const char* const path = std::getenv("ISOSWEEP_WORKER");
    REQUIRE(path);
    return path;
}

const std::string small_steps =
    "device = cpu\ncontext-length = 8, 16\nbatch-size = 1\nwarmup-steps = 1\nmeasure-steps = 3\n";

}  // namespace

TEST_CASE("every pass is measured, alone and in a shared sweep") {
    Sandbox sandbox(small_steps + "pass-type = forward, forward_backward, train_step\n", worker());
    for (const std::string isolation : {"process", "shared"}) {
        const std::string csv = isolation + ".csv";
        const Ran ran = sandbox.sweep({"--isolation", isolation, "--output", csv});
        CAPTURE(ran.err);
        CHECK(ran.exit_code == 0);
        CHECK(sandbox.column("status", csv) == "ok ok ok ok ok ok");
        CHECK(sandbox.column("device", csv) == "cpu cpu cpu cpu cpu cpu");
        CHECK(contains(sandbox.column("num_params", csv), "3084928 3084928"));
        CHECK(contains(sandbox.column("torch", csv), "2.11"));
        CHECK_FALSE(contains(sandbox.column("mean_time_ms", csv), "  "));
    }
    // What the seed decides is the same in a worker of its own and in a shared one.
    CHECK(sandbox.column("loss", "process.csv") == sandbox.column("loss", "shared.csv"));
}

TEST_CASE("what cannot be is unsupported with the reason, and the others are measured") {
    Sandbox sandbox(small_steps + "cuda-graph = off, on\naxis.depth = 1\n", worker());
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("status") == "unsupported unsupported unsupported unsupported");
    CHECK(contains(sandbox.column("error"), "depth"));
    Sandbox graph(small_steps + "cuda-graph = off, on\n", worker());
    CHECK(graph.sweep().exit_code == 0);
    CHECK(graph.column("status") == "ok unsupported ok unsupported");
}

TEST_CASE("asking for a GPU where there is none falls back to the CPU and says so in every row") {
    Sandbox sandbox(small_steps, worker());
    sandbox.set_variable("CUDA_VISIBLE_DEVICES=");
    const Ran ran = sandbox.sweep({"--device", "cuda"});
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.err, "warning: device = cuda was asked for, there is no GPU"));
    CHECK(sandbox.column("device") == "cpu cpu");
    CHECK(
        contains(sandbox.column("warning"), "there is no GPU: measured on CPU device = cuda was"));
}

TEST_CASE("the views of the original's scripts are filled") {
    Sandbox warmup(small_steps + "view = warmup\n", worker());
    CHECK(warmup.sweep({"--warmup-steps", "0,5", "--context-length", "8"}).exit_code == 0);
    CHECK(contains(warmup.file("results/x.csv"),
                   "warmup_steps,mean_time_ms,std_time_ms,cv_percent,difference_to_5_warmup_ms"));
    CHECK(warmup.column("difference_to_5_warmup_ms").ends_with(" 0"));
    Sandbox phases(small_steps + "view = phases\npass-type = forward_backward\n", worker());
    CHECK(phases.sweep().exit_code == 0);
    const Table table = read_csv(phases.path("results/x.csv").string());
    CHECK(table.columns().front() == "model_size");
    CHECK(std::stod(std::get<std::string>(table.at(0, "backward_forward_ratio"))) > 0);
}

TEST_SUITE_END();
