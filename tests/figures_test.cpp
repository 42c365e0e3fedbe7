#include <doctest/doctest.h>
#include <isosweep/figures.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <cmath>
#include <limits>
#include <set>

#include "orchestrator/columns.h"

using namespace isosweep;
namespace json = boost::json;

namespace {

/// The figures as an object; each name comes once.
json::object figures_of(const Cell& cell, const json::object& measurement,
                        std::optional<double> attainable_tflops = std::nullopt) {
    json::object object;
    for (auto& [name, value] : figures(cell, measurement, attainable_tflops)) {
        CHECK_MESSAGE(!object.contains(name), name);
        object[name] = value;
    }
    return object;
}

doctest::Approx about(double value) { return doctest::Approx(value).epsilon(1e-6); }

double number(const json::object& object, std::string_view name) {
    REQUIRE_MESSAGE(object.contains(name), name);
    return object.at(name).to_number<double>();
}

/// A training step of `small` on an H200 as the worker sends it.
Cell cell_on_gpu() {
    Cell cell;
    cell.pass_type = PassType::train_step;
    cell.precision = Precision::bf16;
    return cell;
}
json::object on_gpu() {
    return json::parse(R"({
        "num_params": 128625408, "device": "cuda", "device_name": "NVIDIA H200",
        "warmup_ms": [90, 12, 10.02, 9.99, 10],
        "samples_ms": [10, 10.1, 9.9, 10, 10.2, 9.8, 10, 10.1, 9.9, 10],
        "phases_ms": {"forward": [3, 3, 3, 3, 3, 3, 3, 3, 3, 3], "optimizer": [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]},
        "enqueue_ms": [2, 2, 2, 2, 2, 2, 2, 2, 2, 9], "drain_ms": [8, 8, 8, 8, 8, 8, 8, 8, 8, 1],
        "gpu_ms": [9, 9, 9, 9, 9, 9, 9, 9, 9, 9.5],
        "pipelined_steps": 50, "pipelined_ms": 9.5, "energy_steps": 200, "energy_j": 1024.0,
        "peak_allocated_bytes": 123})")
        .as_object();
}

}  // namespace

TEST_CASE("the figures of a training step on a GPU") {
    const json::object f = figures_of(cell_on_gpu(), on_gpu(), 700.0);
    CHECK(number(f, "mean_time_ms") == about(10));
    CHECK(number(f, "std_time_ms") == about(std::sqrt(0.012)));
    CHECK(number(f, "cv_percent") == about(std::sqrt(1.2)));
    CHECK(number(f, "cv_se_percent") == about(std::sqrt(1.2 / 18)));
    CHECK(number(f, "median_time_ms") == 10);
    CHECK(f.at("samples") == 10);
    CHECK(number(f, "median_ci_low_ms") == 9.9);
    CHECK(number(f, "median_ci_high_ms") == 10.1);
    CHECK(number(f, "iqr_ms") == about(0.15));
    CHECK(number(f, "p90_ms") == about(10.11));
    CHECK_FALSE(f.contains("p95_ms"));
    CHECK(f.at("outliers") == 0);
    CHECK(f.at("severe_outliers") == 0);
    CHECK(number(f, "trend_percent") == about(0));

    CHECK(f.at("warmup_samples") == 5);
    CHECK(number(f, "first_step_ms") == 90);
    CHECK(number(f, "cold_ratio") == 9);
    CHECK(f.at("warmup_needed") == 2);

    CHECK(number(f, "forward_mean_ms") == 3);
    CHECK(number(f, "forward_cv_percent") == 0);
    CHECK(number(f, "optimizer_mean_ms") == about(1.1));
    CHECK_FALSE(f.contains("backward_mean_ms"));

    CHECK(number(f, "enqueue_median_ms") == 2);
    CHECK(number(f, "drain_median_ms") == 8);
    CHECK(number(f, "gpu_median_ms") == 9);
    CHECK(f.at("regime") == "gpu_bound");
    CHECK(number(f, "sync_tax_ms") == about(0.5));
    CHECK_FALSE(f.contains("cpu_utilisation"));

    CHECK(number(f, "tokens_per_s") == about(204'800));
    CHECK(number(f, "step_tflop") == about(1.6019055));
    CHECK(number(f, "tflops_per_s") == about(160.19055));
    CHECK(number(f, "mfu_percent") == about(160.19055 / 9.894));
    CHECK(number(f, "mfu_causal_percent") == about(3 * 51.46788 / 9.894));
    CHECK(number(f, "peak_tflops") == 989.4);
    CHECK(f.at("peak_source") == "datasheet");
    CHECK(number(f, "attainable_tflops") == 700);
    CHECK(number(f, "mfu_attainable_percent") == about(160.19055 / 7));
    CHECK(number(f, "energy_j_per_step") == about(5.12));
    CHECK(number(f, "energy_j_per_token") == about(0.0025));
    CHECK_FALSE(f.contains("peak_allocated_bytes"));  // the worker's own
}

TEST_CASE("every figure has a column") {
    for (const auto& [name, value] : figures(cell_on_gpu(), on_gpu(), 700.0))
        CHECK_MESSAGE(is_own_column(name), name);
    std::set<std::string_view> names;
    for (const std::string_view name : figure_columns)
        CHECK_MESSAGE(names.insert(name).second, name);
    for (const std::string_view name : worker_columns)
        CHECK_MESSAGE(names.insert(name).second, name);
    for (const std::string_view name : first_columns)
        CHECK_MESSAGE(names.insert(name).second, name);
}

TEST_CASE("a step is host-bound where hardly anything is left to wait for") {
    json::object measurement = on_gpu();
    const auto regime = [&](double drain) {
        measurement["drain_ms"] = json::array(10, drain);
        return figures_of(cell_on_gpu(), measurement).at("regime");
    };
    CHECK(regime(0.29) == "host_bound");
    CHECK(regime(0.31) == "gpu_bound");
    measurement["samples_ms"] = json::array(10, 0.5);
    CHECK(regime(0.04) == "host_bound");
    CHECK(regime(0.06) == "gpu_bound");
}

TEST_CASE("without synchronising, times say nothing of the arithmetic") {
    Cell cell = cell_on_gpu();
    cell.sync = false;
    const json::object f = figures_of(cell, on_gpu(), 700.0);
    CHECK(f.contains("step_tflop"));
    CHECK(f.contains("tokens_per_s"));
    for (const char* const name : {"regime", "sync_tax_ms", "tflops_per_s", "mfu_percent",
                                   "mfu_causal_percent", "mfu_attainable_percent"})
        CHECK_MESSAGE(!f.contains(name), name);
}

TEST_CASE("another model, another GPU: no arithmetic, no peak") {
    json::object measurement = on_gpu();
    measurement["device_name"] = "NVIDIA L4";
    const json::object unknown = figures_of(cell_on_gpu(), measurement);
    CHECK(unknown.contains("tflops_per_s"));
    CHECK_FALSE(unknown.contains("mfu_percent"));
    CHECK_FALSE(unknown.contains("peak_source"));
    for (const json::value& params : {json::value(42), json::value(nullptr)}) {
        measurement["num_params"] = params;
        CHECK_FALSE(figures_of(cell_on_gpu(), measurement).contains("step_tflop"));
    }
}

TEST_CASE("the processor's time on a CPU") {
    json::object measurement{
        {"samples_ms", {10, 30}}, {"cpu_ms", {30, 90}}, {"num_threads", 4}, {"warmup_ms", {}}};
    json::object f = figures_of({}, measurement);
    CHECK(number(f, "cpu_utilisation") == about(0.75));
    CHECK(f.at("warmup_samples") == 0);
    CHECK_FALSE(f.contains("first_step_ms"));
    CHECK_FALSE(f.contains("regime"));
    CHECK_FALSE(f.contains("median_ci_low_ms"));
    measurement.erase("num_threads");
    CHECK_FALSE(figures_of({}, measurement).contains("cpu_utilisation"));
}

TEST_CASE("how much warm-up it takes") {
    const auto needed = [](const json::array& warmup) {
        return figures_of({}, {{"samples_ms", {10, 10, 10}}, {"warmup_ms", warmup}});
    };
    CHECK(needed({10, 10.05, 9.98}).at("warmup_needed") == 0);
    CHECK(needed({50, 10, 10, 10, 10}).at("warmup_needed") == 1);
    CHECK(needed({50, 14, 10.2, 10}).at("warmup_needed") == 2);
    CHECK_FALSE(needed({50, 20, 11}).contains("warmup_needed"));
}

TEST_CASE("nothing that is no number reaches JSON") {
    const double tiny = std::numeric_limits<double>::denorm_min();
    const double huge = std::numeric_limits<double>::max();
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const json::array& samples :
         {json::array{tiny, tiny}, json::array{huge, huge / 2, huge}, json::array{tiny, huge},
          json::array{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, json::array{5}}) {
        json::object measurement = on_gpu();
        measurement["samples_ms"] = samples;
        measurement["energy_steps"] = 0;
        measurement["cpu_ms"] = {huge, huge};
        measurement["num_threads"] = 0;
        for (const double attainable : {0.0, nan, huge}) {
            const json::object f = figures_of(cell_on_gpu(), measurement, attainable);
            for (const auto& figure : f)
                if (figure.value().is_double())
                    CHECK_MESSAGE(std::isfinite(figure.value().get_double()),
                                  std::string(figure.key()));
        }
    }
}

TEST_CASE("fields of another kind than ours are left out, not an error") {
    json::object measurement = on_gpu();
    for (const char* const name : {"enqueue_ms", "drain_ms", "gpu_ms", "warmup_ms", "phases_ms",
                                   "energy_j", "pipelined_ms", "num_params", "device_name"})
        for (const json::value& odd :
             {json::value("text"), json::value(nullptr), json::value{1, "2"}, json::value(-1)}) {
            measurement = on_gpu();
            measurement[name] = odd;
            CHECK(number(figures_of(cell_on_gpu(), measurement), "median_time_ms") == 10);
        }
    CHECK(figures({}, {}).empty());
}
