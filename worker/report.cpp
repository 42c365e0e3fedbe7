#include "report.h"

#include <isosweep/build_info.h>
#include <isosweep/figures.h>
#include <isosweep/statistics.h>
#include <torch/version.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <vector>

namespace isosweep {
namespace {

namespace json = boost::json;

std::vector<double> numbers(const json::value& array) {
    std::vector<double> values;
    for (const json::value& value : array.as_array()) values.push_back(value.to_number<double>());
    return values;
}

/// "128,625,408"
std::string grouped(std::int64_t number) {
    std::string digits = std::to_string(number);
    for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
        digits.insert(static_cast<std::size_t>(at), 1, ',');
    return digits;
}

std::string ms(double value) { return format_fixed(value, 3) + " ms"; }

std::string row(std::string_view label, const std::string& value) {
    constexpr std::size_t label_width = 16;
    std::string line = "  " + std::string(label);
    line.resize(2 + label_width, ' ');
    return line + value + "\n";
}

std::string mean_and_deviation(const Statistics& times) {
    return ms(times.mean) + " ± " + format_fixed(times.population_std, 3);
}

std::string memory_text(const json::object& measurement) {
    std::vector<std::string> parts;
    const auto add = [&](std::string_view key, std::string_view label) {
        if (const json::value* bytes = measurement.if_contains(key))
            parts.push_back(format_bytes(bytes->as_int64()) + " " + std::string(label));
    };
    add("peak_allocated_bytes", "allocated");
    add("peak_reserved_bytes", "reserved");
    add("peak_resident_bytes", "resident");
    return join(parts, ", ");
}

/// What the peak consists of.
std::string ledger_text(const json::object& measurement) {
    std::vector<std::string> parts;
    for (const std::string_view part :
         {"parameters", "gradients", "optimizer", "activations", "workspace", "rounding"})
        if (const json::value* bytes = measurement.if_contains(std::string(part) + "_bytes"))
            parts.push_back(format_bytes(bytes->as_int64()) + " " + std::string(part));
    return join(parts, ", ");
}

/// What served `kernels = fused`.
std::string kernels_text(const json::object& measurement) {
    const auto string_of = [&](std::string_view key) -> std::string {
        const json::value* const value = measurement.if_contains(key);
        return value ? std::string(value->as_string()) : "";
    };
    std::string text = string_of("kernels_backend");
    if (const auto origin = string_of("kernels_origin"); !origin.empty())
        text += " (" + origin + ")";
    text += ", attention: " + string_of("attention_backend");
    if (const auto note = string_of("kernels_note"); !note.empty()) text += "; " + note;
    return text;
}

std::string device_row(const json::object& measurement) {
    return row("device", std::string(measurement.at("device_name").as_string()) + " (" +
                             std::string(measurement.at("device").as_string()) + ")");
}

std::string program_row() {
    return row("program", "isosweep-worker " + build_id() + ", LibTorch " TORCH_VERSION);
}

std::string right_aligned(const std::string& text, std::size_t width) {
    return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string breakdown_text(const json::object& breakdown, bool on_gpu) {
    const auto number = [&](std::string_view key) { return breakdown.at(key).to_number<double>(); };
    const auto line = [](std::string_view label, const std::string& time,
                         const std::string& percent, const std::string& count) {
        return row(label, right_aligned(time, 10) + right_aligned(percent, 8) +
                              (count.empty() ? "" : right_aligned(count, 12)));
    };
    const double step = number("step_ms");
    std::string text = line("work", "ms", "%", on_gpu ? "kernels" : "operations");
    for (const json::value& value : breakdown.at("groups").as_array()) {
        const json::object& group = value.as_object();
        const double time = group.at("ms").to_number<double>();
        const auto count = group.at("count").as_int64();
        text += line(group.at("group").as_string(), format_fixed(time, 3),
                     format_fixed(100 * time / step, 1), count > 0 ? grouped(count) : "");
    }
    const double sum = number("sum_ms");
    text += line("sum", format_fixed(sum, 3), format_fixed(100 * sum / step, 1), "");
    text += line("step", format_fixed(step, 3), "100.0", "");
    return text +
           row("unprofiled step", right_aligned(format_fixed(number("unprofiled_step_ms"), 3), 10));
}

}  // namespace

std::string report_text(const Cell& cell, const CellResult& result) {
    const json::object& measurement = result.measurement;
    const std::vector<double> warmup = numbers(measurement.at("warmup_ms"));
    const std::vector<double> samples = numbers(measurement.at("samples_ms"));
    json::object all = measurement;
    for (auto& [name, value] : figures(cell, measurement)) all[name] = std::move(value);
    const auto number = [&](std::string_view key) -> std::optional<double> {
        const json::value* const value = all.if_contains(key);
        return value && value->is_number() ? std::optional(value->to_number<double>())
                                           : std::nullopt;
    };
    std::string text = describe(cell) + "\n";
    // A row of several figures, each with its unit or name behind it; none, if none is there.
    const auto add = [&](std::string_view label,
                         std::initializer_list<std::pair<std::string_view, std::string_view>> terms,
                         int digits = 3) {
        std::vector<std::string> parts;
        for (const auto& [key, unit] : terms)
            if (const auto value = number(key))
                parts.push_back(format_fixed(*value, digits) + " " + std::string(unit));
        if (!parts.empty()) text += row(label, join(parts, ", "));
    };

    text += device_row(measurement);
    text += program_row();
    if (measurement.contains("kernels_backend")) text += row("kernels", kernels_text(measurement));
    text += row("parameters", grouped(measurement.at("num_params").as_int64()));
    text += row("steps", std::to_string(samples.size()) + " measured after " +
                             std::to_string(warmup.size()) + " to warm up" +
                             (cell.sync ? "" : ", not synchronised"));
    text += row("mean", mean_and_deviation(*summarize(samples)) + " (population)");
    if (const auto low = number("median_ci_low_ms"))
        text += row("median", ms(*number("median_time_ms")) + " (95 %: " + format_fixed(*low, 3) +
                                  " to " + format_fixed(*number("median_ci_high_ms"), 3) + ")");
    else
        text += row("median", ms(*number("median_time_ms")));
    text += row("min", ms(*number("min_time_ms")));
    text += row("max", ms(*number("max_time_ms")));
    text += row("tokens/s",
                grouped(static_cast<std::int64_t>(*number("tokens_per_s"))) + " (of the median)");
    for (const auto& phase : measurement.at("phases_ms").as_object())
        if (const auto of_phase = summarize(numbers(phase.value())))
            text += row(phase.key(), mean_and_deviation(*of_phase));
    add("of the median", {{"enqueue_median_ms", "ms to enqueue"},
                          {"drain_median_ms", "ms to drain"},
                          {"gpu_median_ms", "ms on the GPU"}});
    if (const json::value* regime = all.if_contains("regime"))
        text += row("regime", replace_all(std::string_view(regime->as_string()), '_', ' '));
    add("pipelined", {{"pipelined_ms", "ms a step"}});
    if (!warmup.empty()) text += row("first step", ms(warmup.front()));
    add("arithmetic", {{"step_tflop", "TFLOP a step"}, {"tflops_per_s", "TFLOP/s"}});
    add("MFU", {{"mfu_percent", "%"}, {"mfu_causal_percent", "% causal"}}, 1);
    text += row("peak memory", memory_text(measurement));
    if (const auto ledger = ledger_text(measurement); !ledger.empty()) text += row("of it", ledger);
    add("GPU", {{"sm_clock_mhz_mean", "MHz"}, {"power_w_mean", "W"}, {"temperature_c_max", "°C"}},
        0);
    add("energy", {{"energy_j_per_step", "J a step"}, {"energy_j_per_token", "J a token"}}, 4);
    if (!result.flags.empty()) text += row("flags", join(result.flags, ", "));
    return text;
}

std::string inspection_text(const Cell& cell, const json::object& measurement) {
    std::string text = describe(cell) + "\n" + device_row(measurement) + program_row();
    const auto add = [&](std::string_view key, std::string_view label) {
        if (const json::value* value = measurement.if_contains(key))
            text += row(label, std::string(value->as_string()));
    };
    add("note", "looked at");
    add("trace", "trace");
    add("memory_snapshot", "memory snapshot");
    add("profile", "profile");
    if (const json::value* breakdown = measurement.if_contains("breakdown"))
        text += breakdown_text(breakdown->as_object(), measurement.at("device") == "cuda");
    return text;
}

std::string failure_text(Status status, const json::object& error) {
    std::string text(to_name(status));
    const auto string_of = [&](std::string_view key) -> std::string {
        const json::value* value = error.if_contains(key);
        return value && value->is_string() ? std::string(value->get_string()) : "";
    };
    if (const auto phase = string_of("phase"); !phase.empty()) text += " in " + phase;
    text += ": " + string_of("message");
    const auto bytes_of = [&](std::string_view key) {
        return format_bytes(error.at(key).as_int64());
    };
    if (error.contains("requested_bytes")) text += "; asked for " + bytes_of("requested_bytes");
    if (error.contains("free_bytes"))
        text += ", " + bytes_of("free_bytes") + " free of " +
                bytes_of(error.contains("limit_bytes") ? "limit_bytes" : "capacity_bytes");
    return one_line(text, 1000);
}

}  // namespace isosweep
