#include <isosweep/figures.h>
#include <isosweep/flops.h>
#include <isosweep/gpu_peak.h>
#include <isosweep/statistics.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "json_members.h"

namespace isosweep {
namespace json = boost::json;
namespace {

/// Figures as they come; what is absent or not finite is left out.
class Collector {
  public:
    void add(std::string name, std::optional<double> number) {
        if (number && std::isfinite(*number)) figures_.emplace_back(std::move(name), *number);
    }
    void count(std::string name, std::size_t count) {
        figures_.emplace_back(std::move(name), static_cast<std::int64_t>(count));
    }
    void say(std::string name, std::string_view text) {
        figures_.emplace_back(std::move(name), json::string(text));
    }
    Figures take() { return std::move(figures_); }

  private:
    Figures figures_;
};

/// a / b, where both are there.
std::optional<double> ratio(std::optional<double> a, std::optional<double> b) {
    if (!a || !b) return std::nullopt;
    return *a / *b;
}

/// How many warm-up steps it takes until those that are left have a mean within 1 % of `steady_ms`;
/// absent where even the last one has not. The mean, because a median would not see one cold step.
std::optional<std::size_t> warmup_needed(const std::vector<double>& warmup_ms, double steady_ms) {
    std::optional<std::size_t> needed;
    double sum = 0;
    for (std::size_t left = 1; left <= warmup_ms.size(); ++left) {
        sum += warmup_ms[warmup_ms.size() - left];
        if (std::abs(sum / static_cast<double>(left) - steady_ms) <= 0.01 * steady_ms)
            needed = warmup_ms.size() - left;
    }
    return needed;
}

void add_times(Collector& out, const Statistics& samples, const std::vector<double>& samples_ms) {
    out.add("mean_time_ms", samples.mean);
    out.add("std_time_ms", samples.population_std);
    out.add("cv_percent", samples.cv_percent());
    out.add("sample_std_time_ms", samples.sample_std);
    out.add("median_time_ms", samples.median);
    out.add("min_time_ms", samples.min);
    out.add("max_time_ms", samples.max);
    out.count("samples", samples.n);
    out.add("measure_total_ms", std::accumulate(samples_ms.begin(), samples_ms.end(), 0.0));
    if (samples.median_ci) {
        out.add("median_ci_low_ms", samples.median_ci->first);
        out.add("median_ci_high_ms", samples.median_ci->second);
    }
    out.add("cv_se_percent", samples.cv_se_percent());
    out.add("iqr_ms", samples.iqr());
    out.add("p90_ms", samples.p90);
    out.add("p95_ms", samples.p95);
    out.add("p99_ms", samples.p99);
    const Outliers outliers = find_outliers(samples_ms);
    out.count("outliers", outliers.count());
    out.count("severe_outliers", outliers.severe.size());
    if (const auto trend = find_trend(samples_ms)) out.add("trend_percent", trend->percent);
    out.add("autocorrelation", samples.autocorrelation);
}

void add_warmup(Collector& out, const json::object& measurement, double median_ms) {
    const std::vector<double> warmup_ms = numbers_member(measurement, "warmup_ms");
    out.count("warmup_samples", warmup_ms.size());
    out.add("warmup_total_ms", std::accumulate(warmup_ms.begin(), warmup_ms.end(), 0.0));
    if (warmup_ms.empty()) return;
    out.add("first_step_ms", warmup_ms.front());
    out.add("cold_ratio", warmup_ms.front() / median_ms);
    if (const auto needed = warmup_needed(warmup_ms, median_ms))
        out.count("warmup_needed", *needed);
}

void add_phases(Collector& out, const json::object& measurement) {
    const json::value* const phases = measurement.if_contains("phases_ms");
    if (!phases || !phases->is_object()) return;
    for (const auto& phase : phases->get_object()) {
        const auto times = summarize(phases->get_object(), phase.key());
        if (!times) continue;
        const std::string name(phase.key());
        out.add(name + "_mean_ms", times->mean);
        out.add(name + "_std_ms", times->population_std);
        out.add(name + "_cv_percent", times->cv_percent());
    }
}

/// Who waits for whom: the parts of a step on the host, and the GPU's part of it.
void add_regime(Collector& out, const Cell& cell, const json::object& measurement,
                const std::vector<double>& samples_ms, double median_ms) {
    const auto median = [&](std::string_view name) -> std::optional<double> {
        const auto times = summarize(measurement, name);
        if (!times) return std::nullopt;
        return times->median;
    };
    out.add("enqueue_median_ms", median("enqueue_ms"));
    out.add("drain_median_ms", median("drain_ms"));
    out.add("gpu_median_ms", median("gpu_ms"));
    if (const auto regime = find_regime(cell, measurement)) out.say("regime", to_name(*regime));
    if (const auto pipelined = number_member(measurement, "pipelined_ms"); cell.sync && pipelined)
        out.add("sync_tax_ms", median_ms - *pipelined);
    const std::vector<double> cpu_ms = numbers_member(measurement, "cpu_ms");
    if (const auto threads = number_member(measurement, "num_threads"); threads && !cpu_ms.empty())
        out.add("cpu_utilisation",
                std::accumulate(cpu_ms.begin(), cpu_ms.end(), 0.0) /
                    (std::accumulate(samples_ms.begin(), samples_ms.end(), 0.0) * *threads));
}

/// FLOPs and what they are of the peak. The time of a step that is not waited for says nothing
/// about it.
void add_flops(Collector& out, const Cell& cell, const json::object& measurement, double median_ms,
               std::optional<double> attainable_tflops) {
    if (!is_model_of_cell(cell, measurement)) return;
    const ModelConfig config = model_config(cell);
    const StepFlops flops = step_flops(config, cell.batch_size, cell.context_length, cell.pass_type,
                                       cell.activation_checkpointing);
    out.add("step_tflop", flops.model / 1e12);
    if (!cell.sync) return;
    const double rate = flops.model / 1e12 / (median_ms / 1e3);
    const double causal_rate = flops.model_causal / 1e12 / (median_ms / 1e3);
    out.add("tflops_per_s", rate);
    if (const auto peak =
            datasheet_tflops(string_member(measurement, "device_name"), cell.precision)) {
        out.add("mfu_percent", 100 * rate / *peak);
        out.add("mfu_causal_percent", 100 * causal_rate / *peak);
        out.add("peak_tflops", peak);
        out.say("peak_source", "datasheet");
    }
    if (attainable_tflops) {
        out.add("mfu_attainable_percent", 100 * rate / *attainable_tflops);
        out.add("attainable_tflops", attainable_tflops);
    }
}

}  // namespace

std::optional<Regime> find_regime(const Cell& cell, const json::object& measurement) {
    const auto samples = summarize(measurement, "samples_ms");
    const auto drain = summarize(measurement, "drain_ms");
    if (!cell.sync || !samples || !drain) return std::nullopt;
    const bool is_short = drain->median < std::max(0.05, 0.03 * samples->median);
    return is_short ? Regime::host_bound : Regime::gpu_bound;
}

bool is_model_of_cell(const Cell& cell, const json::object& measurement) {
    const auto params = number_member(measurement, "num_params");
    return params && *params == static_cast<double>(num_params(model_config(cell)));
}

Figures figures(const Cell& cell, const json::object& measurement,
                std::optional<double> attainable_tflops) {
    Collector out;
    const std::vector<double> samples_ms = numbers_member(measurement, "samples_ms");
    const auto samples = summarize(samples_ms);
    if (!samples) return {};
    const double tokens =
        static_cast<double>(cell.batch_size) * static_cast<double>(cell.context_length);
    add_times(out, *samples, samples_ms);
    add_warmup(out, measurement, samples->median);
    out.add("tokens_per_s", 1e3 * tokens / samples->median);
    add_phases(out, measurement);
    add_regime(out, cell, measurement, samples_ms, samples->median);
    add_flops(out, cell, measurement, samples->median, attainable_tflops);
    const auto joules =
        ratio(number_member(measurement, "energy_j"), number_member(measurement, "energy_steps"));
    out.add("energy_j_per_step", joules);
    out.add("energy_j_per_token", ratio(joules, tokens));
    return out.take();
}

}  // namespace isosweep
