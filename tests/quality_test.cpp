#include <doctest/doctest.h>
#include <isosweep/quality.h>

#include <boost/json/array.hpp>
#include <limits>

using namespace isosweep;
namespace json = boost::json;

namespace {

using Flags = std::vector<std::string>;

/// A calm measurement of `small` on an H200: its forward pass has 0.515 TFLOP, at least 7.54 ms in
/// fp32.
json::object calm() {
    return {{"samples_ms", {12.0, 12.01, 11.99, 12.02, 12.0, 11.98, 12.01, 12.0, 11.99, 12.0}},
            {"gpu_ms", {11.9, 11.9, 11.9, 11.9, 11.9, 11.9, 11.9, 11.9, 11.9, 11.9}},
            {"loss", -1.5},
            {"compute_capability", "9.0"},
            {"sm_count", 132},
            {"sm_clock_max_mhz", 1980}};
}

json::object with(std::string_view name, json::value value) {
    json::object measurement = calm();
    measurement[name] = std::move(value);
    return measurement;
}

bool starts_with(const std::string& text, std::string_view start) {
    return text.starts_with(start);
}

}  // namespace

TEST_CASE("a calm measurement is believed as it is") {
    const Verdict verdict = judge({}, calm());
    CHECK(verdict.invalid_reason.empty());
    CHECK(verdict.flags == Flags{});
}

TEST_CASE("nothing is faster than the hardware") {
    const json::object fast = with("samples_ms", {12.0, 7.0, 12.0});
    CHECK(judge({}, fast).invalid_reason ==
          "a step took 7.0000 ms, but its 0.5147 TFLOP need at least 7.5415 ms at the GPU's 66.9 "
          "TFLOP/s: a synchronisation is missing, or work was left out");
    Cell cell;
    cell.precision = Precision::bf16;
    CHECK(judge(cell, fast).invalid_reason.empty());
    cell = {};
    cell.pass_type = PassType::train_step;  // three times the work
    CHECK(starts_with(judge(cell, calm()).invalid_reason, "a step took 11.9800 ms"));
}

TEST_CASE("the speed is not judged where it cannot be") {
    json::object fast = with("samples_ms", {1.0, 1.0, 1.0});
    fast.erase("gpu_ms");
    Cell unsynchronised;
    unsynchronised.sync = false;
    CHECK(judge(unsynchronised, fast).invalid_reason.empty());
    for (const char* const capability : {"7.0", "9", "", "x.y", "9.x"}) {
        fast["compute_capability"] = capability;
        CHECK(judge({}, fast).invalid_reason.empty());
    }
    fast["compute_capability"] = "9.0";
    CHECK_FALSE(judge({}, fast).invalid_reason.empty());
    for (const char* const name : {"compute_capability", "sm_count", "sm_clock_max_mhz"}) {
        json::object without = fast;
        without.erase(name);
        CHECK(judge({}, without).invalid_reason.empty());
    }
}

TEST_CASE("a loss that was read is finite") {
    CHECK(judge({}, with("loss", nullptr)).invalid_reason == "loss is not finite");
    CHECK(judge({}, with("loss", std::numeric_limits<double>::quiet_NaN())).invalid_reason ==
          "loss is not finite");
    json::object without = calm();
    without.erase("loss");
    CHECK(judge({}, without).invalid_reason.empty());
}

TEST_CASE("the GPU's times are possible") {
    CHECK(judge({}, with("gpu_ms", {11.9, -0.5})).invalid_reason ==
          "gpu_ms has a negative time, -0.5000 ms");
    CHECK(
        judge({}, with("phases_ms", {{"forward", {1, 2}}, {"backward", {1, -2}}})).invalid_reason ==
        "phases_ms: backward has a negative time, -2.0000 ms");
    CHECK(judge({}, with("gpu_ms", {12.65})).invalid_reason.empty());
    const json::object longer = with("gpu_ms", {12.66});
    CHECK(judge({}, longer).invalid_reason ==
          "the GPU was busy for 12.6600 ms in steps that took 12.0000 ms (medians)");
    Cell unsynchronised;
    unsynchronised.sync = false;
    CHECK(judge(unsynchronised, longer).invalid_reason.empty());
}

TEST_CASE("a measurement without times is invalid") {
    CHECK_FALSE(judge({}, {}).invalid_reason.empty());
    CHECK_FALSE(judge({}, {{"samples_ms", {1, "2"}}}).invalid_reason.empty());
}

TEST_CASE("each flag by what raises it, and what just does not") {
    const auto flags = [](const json::object& measurement) { return judge({}, measurement).flags; };
    CHECK(flags(with("warmup_steady", false)) == Flags{"warmup_not_steady"});
    CHECK(flags(with("warmup_steady", true)) == Flags{});
    CHECK(flags(with("converged", false)) == Flags{"not_converged"});
    CHECK(flags(with("device_allocs", 1)) == Flags{"unsteady_allocator"});
    CHECK(flags(with("alloc_retries", 1)) == Flags{"unsteady_allocator"});
    CHECK(flags(with("device_allocs", 0)) == Flags{});
    CHECK(flags(with("throttled", true)) == Flags{"throttled"});
    CHECK(flags(with("other_gpu_processes", 2)) == Flags{"other_gpu_processes"});
    CHECK(flags(with("other_gpu_processes", 0)) == Flags{});
    CHECK(flags(with("timer_floor_ms", 0.13)) == Flags{"timer_floor"});
    CHECK(flags(with("timer_floor_ms", 0.11)) == Flags{});
    CHECK(flags(with("debug_build", true)) == Flags{"debug_build"});
    CHECK(flags(with("launch_blocking", true)) == Flags{"launch_blocking"});
    CHECK(flags(with("load_average", 9.0)) == Flags{});
    json::object loaded = with("load_average", 9.0);
    loaded["cpus"] = 16;
    CHECK(flags(loaded) == Flags{"host_loaded"});
    loaded["cpus"] = 18;
    CHECK(flags(loaded) == Flags{});
    // One of several workers, each of which has a part of the machine.
    loaded["cpus"] = 4;
    loaded["machine_cpus"] = 18;
    CHECK(flags(loaded) == Flags{});
    Cell unsynchronised;
    unsynchronised.sync = false;
    CHECK(judge(unsynchronised, calm()).flags == Flags{"unsynchronised"});
}

TEST_CASE("flags that come from the series itself") {
    const auto flags = [](const json::array& samples) {
        return judge({}, {{"samples_ms", samples}}).flags;
    };
    CHECK(flags({10, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98, 100}) == Flags{"outliers"});
    json::array rising;
    json::array calm_rising;
    for (int i = 0; i < 10; ++i) {
        rising.emplace_back(10 + 0.02 * i);
        calm_rising.emplace_back(10 + 0.009 * i);
    }
    CHECK(flags(rising) == Flags{"trend"});
    CHECK(flags(calm_rising) == Flags{});  // 0.9 % is too little
    json::array waves;
    for (int i = 0; i < 24; ++i) waves.emplace_back(i % 8 < 4 ? 10.0 : 11.0);
    CHECK(flags(waves) == Flags{"autocorrelated"});
    waves.resize(16);
    CHECK(flags(waves) == Flags{});
}
