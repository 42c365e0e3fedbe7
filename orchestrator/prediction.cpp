#include "orchestrator/prediction.h"

#include <isosweep/statistics.h>
#include <isosweep/text.h>
#include <isosweep/time_model.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace isosweep {
namespace {

constexpr std::int64_t mebi = 1LL << 20;
/// What a worker takes of the GPU beside its tensors: the context, cuBLAS, kernels. 687 to 767 MiB
/// on an H200, and up to 76 MiB for a graph.
constexpr std::int64_t outside_bytes = 768 * mebi;
constexpr std::int64_t outside_graph_bytes = 80 * mebi;
/// What the allocator may hold beyond the tensors at their peak when it has given back all it can.
constexpr double margin = 0.05;
/// A graph's memory cannot be given back while it is captured: up to 19.4 % were idle.
constexpr double graph_margin = 0.20;

/// A worker that is there already has no start; this is left, on an H200's host.
constexpr double shared_overhead_ms = 60;

/// What of a worker's start is done beside the cell before: loading libraries takes 264 to 272 ms
/// on that host, the driver and the context 194 to 215 ms more.
double saved_start_ms(StandbyMode standby) {
    switch (standby) {
        case StandbyMode::off:
            return 0;
        case StandbyMode::libraries:
            return 270;
        case StandbyMode::context:
            return 470;
    }
    return 0;
}

/// The cell without what changes neither its memory nor its step.
Cell essence_of(const Cell& cell) {
    Cell essence = cell;
    const Cell defaults;
    essence.seed = defaults.seed;
    essence.replicate = defaults.replicate;
    essence.warmup_steps = defaults.warmup_steps;
    essence.measure_steps = defaults.measure_steps;
    essence.passes = defaults.passes;
    essence.gpu_memory_limit = defaults.gpu_memory_limit;
    return essence;
}

/// What the ratio of measured to modelled time depends on, from the narrow kind to the wide one.
std::array<int, 3> kinds_of(const Cell& cell) {
    const int products =
        1 + 2 * static_cast<int>(cell.precision) + 8 * static_cast<int>(cell.kernels);
    const int launch = (cell.cuda_graph ? 1 : 0) + (cell.activation_checkpointing ? 2 : 0);
    return {100 * (1 + 4 * static_cast<int>(cell.pass_type) + launch) + products, products, 0};
}

/// What `ratios` say at x: between two neighbours on the line through them, else what the last one
/// says.
double interpolate(const std::map<double, double>& ratios, double x) {
    const auto above = ratios.lower_bound(x);
    if (above == ratios.end()) return ratios.rbegin()->second;
    if (above == ratios.begin() || above->first == x) return above->second;
    const auto below = std::prev(above);
    const double share = (x - below->first) / (above->first - below->first);
    return below->second + share * (above->second - below->second);
}

void set_cell_ms(Prediction& prediction, const Cell& cell) {
    if (prediction.step_ms && prediction.overhead_ms)
        prediction.cell_ms =
            *prediction.overhead_ms + *prediction.step_ms * steps_of(cell, *prediction.step_ms);
}

}  // namespace

Prediction predict_by_model(const Cell& cell, const std::string& gpu,
                            const std::string& isolation) {
    Prediction prediction;
    // Who measures an axis of his own is not our worker, and a CPU's memory is not modelled.
    if (!cell.custom.empty() || cell.device == Device::cpu) return prediction;
    prediction.memory = predict_memory(cell);
    prediction.peak_bytes = prediction.memory->peak();
    prediction.step_ms = predict_step_ms(cell, gpu);
    if (prediction.step_ms)
        prediction.overhead_ms =
            isolation == "shared" ? shared_overhead_ms : predict_overhead_ms(cell);
    set_cell_ms(prediction, cell);
    return prediction;
}

Predictor::Predictor(std::string gpu, std::string isolation, StandbyMode standby)
    : gpu_(std::move(gpu)), isolation_(std::move(isolation)), standby_(standby) {}

double Predictor::model_step_ms(const Cell& cell) const {
    return predict_step_ms(cell, gpu_).value_or(comparable_step_ms(cell));
}

void Predictor::learn_from(const Journal& journal) {
    for (const auto& [key, history] : journal.cells()) {
        if (!history.recorded || history.recorded->status != Status::ok) continue;
        const Setting& setting = journal.setting_of(*history.recorded);
        if (setting.gpu != gpu_) continue;
        const boost::json::object asked = journal.asked_cell(history);
        if (asked.empty()) continue;
        try {
            const auto elapsed_ms = static_cast<double>(history.recorded->elapsed_ms);
            learn(cell_from_json(asked), journal.attempt(*history.recorded).outcome.measurement,
                  setting.isolation == isolation_ ? std::optional(elapsed_ms) : std::nullopt);
        } catch (const BadValue&) {  // NOLINT(bugprone-empty-catch)
            // A cell that a later version wrote teaches us nothing.
        }
    }
    std::sort(overheads_ms_.begin(), overheads_ms_.end());
}

void Predictor::learn(const Cell& cell, const boost::json::object& measurement,
                      std::optional<double> elapsed_ms) {
    const auto samples = summarize(measurement, "samples_ms");
    if (!samples || samples->median <= 0) return;
    Measured measured{.step_ms = samples->median, .peak_bytes = {}, .overhead_ms = {}};
    if (const auto* peak = measurement.if_contains("peak_allocated_bytes");
        peak && peak->is_int64())
        measured.peak_bytes = peak->get_int64();
    if (elapsed_ms) {
        measured.overhead_ms =
            std::max(0.0, *elapsed_ms - samples->median * steps_of(cell, samples->median));
        overheads_ms_.push_back(*measured.overhead_ms);
    }
    measured_[key_of(essence_of(cell))] = measured;
    // Steps that are not waited for have no times of their own.
    if (!cell.custom.empty() || !cell.sync) return;
    const double model_ms = model_step_ms(cell);
    for (const int kind : kinds_of(cell))
        ratios_[kind][std::log(model_ms)] = std::log(samples->median / model_ms);
}

std::optional<double> Predictor::learned_ratio(const Cell& cell, double model_ms) const {
    for (const int kind : kinds_of(cell))
        if (const auto known = ratios_.find(kind); known != ratios_.end())
            return std::exp(interpolate(known->second, std::log(model_ms)));
    return std::nullopt;
}

Prediction Predictor::predict(const Cell& cell) const {
    Prediction prediction = predict_by_model(cell, gpu_, isolation_);
    if (prediction.overhead_ms && isolation_ == "process") {
        *prediction.overhead_ms -= saved_start_ms(standby_);
        set_cell_ms(prediction, cell);
    }
    if (measured_.empty()) return prediction;
    if (!overheads_ms_.empty()) prediction.overhead_ms = overheads_ms_[overheads_ms_.size() / 2];
    if (const auto known = measured_.find(key_of(essence_of(cell))); known != measured_.end()) {
        const Measured& measured = known->second;
        prediction.basis = PredictionBasis::measured;
        prediction.step_ms = measured.step_ms;
        if (measured.overhead_ms) prediction.overhead_ms = measured.overhead_ms;
        if (measured.peak_bytes) prediction.peak_bytes = measured.peak_bytes;
    } else if (cell.custom.empty()) {
        const double model_ms = model_step_ms(cell);
        if (const auto ratio = learned_ratio(cell, model_ms)) {
            prediction.basis = PredictionBasis::learned;
            prediction.step_ms = *ratio * model_ms;
        }
    }
    set_cell_ms(prediction, cell);
    return prediction;
}

std::optional<std::int64_t> available_bytes(const Cell& cell,
                                            std::optional<std::int64_t> gpu_bytes) {
    std::optional<std::int64_t> available;
    if (gpu_bytes)
        available = std::max<std::int64_t>(
            0, *gpu_bytes - outside_bytes - (cell.cuda_graph ? outside_graph_bytes : 0));
    const std::int64_t limit = cell.gpu_memory_limit.bytes;
    if (limit > 0) available = std::min(limit, available.value_or(limit));
    return available;
}

Fit fit_of(const Cell& cell, std::int64_t peak_bytes, std::int64_t available) {
    const double with_margin =
        static_cast<double>(peak_bytes) * (1 + (cell.cuda_graph ? graph_margin : margin));
    if (peak_bytes > available) return Fit::no;
    return with_margin > static_cast<double>(available) ? Fit::tight : Fit::yes;
}

std::optional<Outcome> FittingGate::obstacle(const Cell& cell) const {
    const auto available = available_bytes(cell, gpu_bytes_);
    const Prediction prediction = predictor_.predict(cell);
    if (!available || !prediction.peak_bytes ||
        fit_of(cell, *prediction.peak_bytes, *available) != Fit::no)
        return std::nullopt;
    Outcome outcome;
    outcome.status = Status::skipped;
    outcome.message = "is predicted to take " + format_bytes(*prediction.peak_bytes) +
                      " of GPU memory, where " + format_bytes(*available) +
                      " are there for it (fitting = on)";
    outcome.error = {
        {"prediction", {{"peak_bytes", *prediction.peak_bytes}, {"available_bytes", *available}}}};
    return outcome;
}

}  // namespace isosweep
