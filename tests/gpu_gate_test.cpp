// What must be right with a GPU before the next worker starts on it.
#include "orchestrator/gpu_gate.h"

#include <doctest/doctest.h>

#include "orchestrator/journal.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

constexpr std::int64_t gib = std::int64_t{1} << 30;

GpuState calm() {
    GpuState state;
    state.used_bytes = gib;
    state.temperature_c = 60;
    state.slowdown_c = 90;
    state.uncorrected_errors = 2;
    state.pids = {7};
    return state;
}

/// "passing", "somebody" or "permanent" and the reason, or "fine".
std::string judged(const GpuState& now, const GpuState& before = calm()) {
    const auto obstacle = find_obstacle(before, now, 42);
    if (!obstacle) return "fine";
    const char* const kinds[] = {"passing: ", "somebody: ", "permanent: "};
    return kinds[static_cast<int>(obstacle->kind)] + obstacle->reason;
}

std::unique_ptr<Sandbox> sandbox_with(const std::string& behaviours, const std::string& more = "") {
    auto sandbox = std::make_unique<Sandbox>("axis.behaviour = " + behaviours +
                                             "\ngpu-timeout = 300ms\n" + more);
    sandbox->use_fake_gpu();
    sandbox->set_variable("FAKE_NVML_STATE=" + sandbox->path("gpu").string());
    return sandbox;
}

}  // namespace

TEST_CASE("a GPU is ready when it is as before the first worker") {
    const auto changed = [](const std::function<void(GpuState&)>& change) {
        GpuState state = calm();
        change(state);
        return judged(state);
    };
    CHECK(judged(calm()) == "fine");
    CHECK(judged({}, {}) == "fine");  // nobody tells
    CHECK(changed([](GpuState& s) { *s.used_bytes += 100 << 20; }) == "fine");
    CHECK(changed([](GpuState& s) { *s.used_bytes += 4 * gib; }) ==
          "passing: 4.00 GiB of its memory are not back");
    CHECK(changed([](GpuState& s) { s.pids = {7, 42}; }) ==
          "passing: its last worker, process 42, is still on it");
    CHECK(changed([](GpuState& s) { s.pids = {7, 99}, *s.used_bytes += 4 * gib; }) ==
          "somebody: process 99 came and holds 4.00 GiB of its memory");
    CHECK(changed([](GpuState& s) { s.pids = {7, 99}; }) == "fine");
    CHECK(changed([](GpuState& s) { s.used_bytes.reset(); }) == "passing: it does not answer");
    CHECK(changed([](GpuState& s) { s.temperature_c = 90; }) ==
          "passing: it is too hot: 90 degrees of 90");
    CHECK(changed([](GpuState& s) { s.uncorrected_errors = 3; }) ==
          "permanent: it has 1 new uncorrected memory errors (ECC)");
    CHECK(changed([](GpuState& s) { s.xids = {43, 79}; }) ==
          "permanent: the driver reports Xid 79");
    // What a worker's own fault leaves in the driver's log says nothing of the GPU.
    CHECK(changed([](GpuState& s) { s.xids = {13, 31, 43, 45}; }) == "fine");
}

TEST_CASE("what the driver tells is seen, and a GPU that is not known is let pass") {
    GpuObserver observer("GPU-fake-0", FAKE_NVML);
    const GpuState state = observer.look();
    CHECK(state.used_bytes == 0);
    CHECK(state.temperature_c == 61);
    CHECK(state.slowdown_c == 90);
    CHECK(state.uncorrected_errors == 0);
    CHECK(state.xids.empty());
    GpuObserver old("GPU-fake-0", FAKE_NVML_OLD);
    CHECK(old.look().used_bytes == 0);
    CHECK_FALSE(old.look().temperature_c.has_value());
    CHECK_FALSE(GpuObserver("MIG-1", FAKE_NVML).look().used_bytes.has_value());
    CHECK_FALSE(GpuGate("GPU-0", "no such library").obstacle(1).has_value());
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE("a GPU whose memory does not come back gets no more cells, and they say why") {
    for (const auto& [left, reason] : {std::pair{"4000", "of its memory are not back after"},
                                       {"0_95", "too hot: 95 degrees"},
                                       {"0_61_1", "uncorrected memory errors"},
                                       {"0_61_0_79", "Xid 79"},
                                       {"lost", "it does not answer after gpu-timeout = 0.3 s"}}) {
        CAPTURE(left);
        const auto sandbox =
            sandbox_with("ok, leave_gpu:" + std::string(left) + ", slow:1, slow:2");
        const Ran ran = sandbox->sweep();
        CHECK(ran.exit_code == 5);
        CHECK(contains(ran.err, "no GPU is left that cells could run on. GPU GPU-fake-0: "));
        CHECK(sandbox->column("status") == "ok ok not_run not_run");
        CHECK(contains(sandbox->column("error"), reason));
        CHECK(sandbox->answers() == 2);
        // Mended, the same command goes on, and nothing is held against the cells.
        std::filesystem::remove(sandbox->path("gpu"));
        CHECK(sandbox->sweep().exit_code == 0);
        CHECK(sandbox->column("status") == "ok ok ok ok");
        CHECK(sandbox->column("attempts") == "1 1 1 1");
    }
}

TEST_CASE("a worker's own fault in the driver's log closes nothing") {
    const auto sandbox = sandbox_with("ok, leave_gpu:0_61_0_43, slow:1");
    CHECK(sandbox->sweep().exit_code == 0);
}

TEST_CASE("a GPU that comes back in time goes on") {
    const auto sandbox = sandbox_with("leave_gpu:4000, slow:1");
    const pid_t pid = sandbox->start({"run", "x.cfg", "--gpu-timeout", "20s"});
    sandbox->wait_until([&] { return sandbox->answers() == 1; });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    CHECK(sandbox->answers() == 1);
    std::filesystem::remove(sandbox->path("gpu"));
    CHECK(sandbox->wait(pid).exit_code == 0);
}

TEST_CASE("cells of a GPU that is closed go to another") {
    const auto sandbox = sandbox_with("leave_gpu:0_61_0_79, gpu, slow:1, slow:2, slow:3, slow:4");
    sandbox->set_variable("FAKE_NVML_COUNT=2");
    sandbox->set_variable("CUDA_VISIBLE_DEVICES=0,1");
    const Ran ran = sandbox->sweep();
    CHECK_MESSAGE(ran.exit_code == 0, ran.err);
    CHECK(contains(ran.err, "GPU GPU-fake-0: the driver reports Xid 79; it gets no more cells"));
    CHECK(sandbox->column("gpu_uuid") ==
          "GPU-fake-0 GPU-fake-1 GPU-fake-1 GPU-fake-1 GPU-fake-1 GPU-fake-1");
}

TEST_CASE("Ctrl-C does not wait for a GPU") {
    const auto sandbox = sandbox_with("leave_gpu:4000, slow:1");
    const pid_t pid = sandbox->start({"run", "x.cfg", "--gpu-timeout", "60s"});
    sandbox->wait_until([&] { return sandbox->answers() == 1; });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ::kill(pid, SIGINT);
    CHECK(sandbox->wait(pid).signal == SIGINT);
    CHECK(sandbox->column("status") == "ok not_run");
}

TEST_SUITE_END();
