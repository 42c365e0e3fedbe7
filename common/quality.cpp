#include <isosweep/flops.h>
#include <isosweep/gpu_peak.h>
#include <isosweep/quality.h>
#include <isosweep/statistics.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "json_members.h"

namespace isosweep {
namespace json = boost::json;
namespace {

std::string ms(double milliseconds) { return format_fixed(milliseconds, 4) + " ms"; }

/// The most that the GPU of a measurement can do, in TFLOP/s, where it tells enough of itself.
std::optional<double> peak_at_max_clock(const Cell& cell, const json::object& measurement) {
    const std::string capability = string_member(measurement, "compute_capability");
    const auto sm_count = number_member(measurement, "sm_count");
    const auto clock_mhz = number_member(measurement, "sm_clock_max_mhz");
    int major = 0;
    int minor = 0;
    const char* const end = capability.data() + capability.size();
    const auto [dot, problem] = std::from_chars(capability.data(), end, major);
    if (problem != std::errc{} || dot == end || *dot != '.') return std::nullopt;
    if (std::from_chars(dot + 1, end, minor).ec != std::errc{}) return std::nullopt;
    if (!sm_count || !clock_mhz) return std::nullopt;
    return max_clock_tflops(major, minor, std::llround(*sm_count), *clock_mhz, cell.precision);
}

/// A step faster than light: a synchronisation is missing, or work was left out. The causal count
/// is the least work that any correct kernel does.
std::string problem_with_speed(const Cell& cell, const json::object& measurement,
                               const Statistics& samples) {
    if (!cell.sync) return {};
    const auto peak = peak_at_max_clock(cell, measurement);
    if (!peak) return {};
    const double tflop = step_flops(model_config(cell), cell.batch_size, cell.context_length,
                                    cell.pass_type, cell.activation_checkpointing)
                             .model_causal /
                         1e12;
    const double least_ms = 1e3 * tflop / (1.02 * *peak);
    if (samples.min >= least_ms) return {};
    return "a step took " + ms(samples.min) + ", but its " + format_fixed(tflop, 4) +
           " TFLOP need at least " + ms(least_ms) + " at the GPU's " + format_fixed(*peak, 1) +
           " TFLOP/s: a synchronisation is missing, or work was left out";
}

std::string problem_with_loss(const json::object& measurement) {
    if (!measurement.contains("loss") || number_member(measurement, "loss")) return {};
    return "loss is not finite";
}

std::string problem_with_events(const Cell& cell, const json::object& measurement,
                                const Statistics& samples) {
    const auto negative = [](const json::object& holder, std::string_view name) -> std::string {
        const auto times = summarize(holder, name);
        if (!times || times->min >= 0) return {};
        return std::string(name) + " has a negative time, " + ms(times->min);
    };
    if (auto problem = negative(measurement, "gpu_ms"); !problem.empty()) return problem;
    if (const json::value* phases = measurement.if_contains("phases_ms");
        phases && phases->is_object())
        for (const auto& phase : phases->get_object())
            if (auto problem = negative(phases->get_object(), phase.key()); !problem.empty())
                return "phases_ms: " + problem;
    const auto gpu = summarize(measurement, "gpu_ms");
    if (!cell.sync || !gpu || gpu->median <= 1.05 * samples.median + 0.05) return {};
    return "the GPU was busy for " + ms(gpu->median) + " in steps that took " + ms(samples.median) +
           " (medians)";
}

std::vector<std::string> flags_of(const Cell& cell, const json::object& measurement,
                                  const std::vector<double>& samples_ms,
                                  const Statistics& samples) {
    std::vector<std::string> flags;
    const auto flag = [&](std::string_view name, bool raised) {
        if (raised) flags.emplace_back(name);
    };
    const auto is_positive = [&](std::string_view name) {
        return number_member(measurement, name).value_or(0) > 0;
    };
    const auto says = [&](std::string_view name) { return is_switch(measurement, name, true); };
    const auto denies = [&](std::string_view name) { return is_switch(measurement, name, false); };
    const auto trend = find_trend(samples_ms);
    const auto load = number_member(measurement, "load_average");
    // The load is the machine's; a worker may be kept to some of its CPUs.
    auto cpus = number_member(measurement, "machine_cpus");
    if (!cpus) cpus = number_member(measurement, "cpus");
    flag("unsynchronised", !cell.sync);
    flag("warmup_not_steady", denies("warmup_steady"));
    flag("not_converged", denies("converged"));
    flag("unsteady_allocator", is_positive("device_allocs") || is_positive("alloc_retries"));
    flag("outliers", !find_outliers(samples_ms).severe.empty());
    flag("trend", trend && trend->p < 0.01 && std::abs(trend->percent) > 1);
    flag("autocorrelated", samples.n >= 20 && samples.autocorrelation > 0.3);
    flag("timer_floor",
         number_member(measurement, "timer_floor_ms").value_or(0) > 0.01 * samples.median);
    flag("throttled", says("throttled"));
    flag("other_gpu_processes", is_positive("other_gpu_processes"));
    flag("host_loaded", load && cpus && *load > *cpus / 2);
    flag("launch_blocking", says("launch_blocking"));
    flag("debug_build", says("debug_build"));
    return flags;
}

}  // namespace

Verdict judge(const Cell& cell, const json::object& measurement) {
    const std::vector<double> samples_ms = numbers_member(measurement, "samples_ms");
    const auto samples = summarize(samples_ms);
    if (!samples) return {"samples_ms holds no finite times", {}};
    std::string reason = problem_with_speed(cell, measurement, *samples);
    if (reason.empty()) reason = problem_with_loss(measurement);
    if (reason.empty()) reason = problem_with_events(cell, measurement, *samples);
    return {std::move(reason), flags_of(cell, measurement, samples_ms, *samples)};
}

}  // namespace isosweep
