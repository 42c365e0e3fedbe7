#include <doctest/doctest.h>
#include <isosweep/time_model.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "measured_cells.h"
#include "orchestrator/prediction.h"

using namespace isosweep;
using isosweep::tests::measured_cells;
using isosweep::tests::MeasuredCell;

namespace {
constexpr const char* h200 = "NVIDIA H200 (140 GiB)";
}

TEST_CASE("predicted steps of an H200 are near the measured ones") {
    std::vector<double> errors;
    for (const MeasuredCell& measured : measured_cells()) {
        CAPTURE(measured.sweep + ": " + describe(measured.cell));
        const auto predicted = predict_step_ms(measured.cell, h200);
        REQUIRE(predicted);
        errors.push_back(std::abs(*predicted / measured.median_ms - 1));
        // What the host bounds varies by a factor of two between machines, and within one.
        const bool host_bounds =
            measured.cell.precision == Precision::bf16 && measured.cell.context_length <= 256;
        CHECK(errors.back() < (host_bounds ? 0.55 : 0.25));
    }
    std::sort(errors.begin(), errors.end());
    CHECK(errors[errors.size() / 2] < 0.05);
    CHECK(errors[errors.size() * 9 / 10] < 0.20);
}

TEST_CASE("the predicted time of each sweep is near the measured one") {
    std::map<std::string, std::pair<double, double>> totals;
    for (const MeasuredCell& measured : measured_cells()) {
        // The others are older than the standby.
        const StandbyMode standby =
            measured.sweep == "fused_kernels" ? StandbyMode::context : StandbyMode::off;
        totals[measured.sweep].first +=
            *Predictor(h200, "process", standby).predict(measured.cell).cell_ms;
        totals[measured.sweep].second += measured.elapsed_ms;
    }
    REQUIRE(totals.size() == 8);
    for (const auto& [sweep, times] : totals) {
        CAPTURE(sweep);
        // The model was not made with full_bf16: that sweep came later.
        CHECK(std::abs(times.first / times.second - 1) < (sweep == "full_bf16" ? 0.10 : 0.06));
    }
}

TEST_CASE("times scale with a GPU's rates, and are absent where these are not known") {
    Cell cell;
    set_model(cell, "2.7B", *find_model_config("2.7B"));
    cell.precision = Precision::bf16;
    const auto on = [&](const char* gpu) { return predict_step_ms(cell, gpu); };
    CHECK(*on("NVIDIA A100-SXM4-80GB") > 1.5 * *on("NVIDIA H100 80GB HBM3"));
    CHECK(*on("NVIDIA H100 80GB HBM3") > *on(h200));
    CHECK_FALSE(on("Fake GPU"));
    CHECK_FALSE(on(""));
    cell.device = Device::cpu;
    CHECK_FALSE(on(h200));
    // B200's fp32 is not known, bf16 is.
    cell.device = Device::cuda;
    CHECK(on("NVIDIA B200"));
    cell.precision = Precision::fp32;
    CHECK_FALSE(on("NVIDIA B200"));
}

TEST_CASE("steps are those that the cell asks for, or that its rules make of their time") {
    Cell cell;
    CHECK(steps_of(cell, 10) == 15);
    cell.passes.memory = false;
    CHECK(steps_of(cell, 10) == 15);
    cell.warmup_steps = 0;
    CHECK(steps_of(cell, 10) == 10);
    cell.passes.memory = true;  // the ledger's step
    CHECK(steps_of(cell, 10) == 11);
    cell.warmup_steps = cell.measure_steps = StepCount{};
    CHECK(steps_of(cell, 10) == 50 + 200);
    CHECK(steps_of(cell, 100) == 5 + 20);
    CHECK(steps_of(cell, 1'000) == 5 + 10);
    cell.passes.pipelined = true;
    CHECK(steps_of(cell, 100) == 5 + 20 + 5);
    cell.passes.energy = true;
    CHECK(steps_of(cell, 100) == 5 + 20 + 25);
}
