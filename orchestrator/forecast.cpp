#include "orchestrator/forecast.h"

#include <isosweep/flops.h>
#include <isosweep/text.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>

#include "orchestrator/machine.h"
#include "orchestrator/plan.h"
#include "orchestrator/prediction.h"
#include "orchestrator/prune.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// From the start of its worker to the end of a matrix product's measurement, on an H200.
constexpr double probe_ms = 1'000;

/// Where a sweep will run, and what is known of it.
struct Place {
    Device device = Device::cpu;  ///< what `auto` and `cuda` mean there
    std::string gpu;              ///< as a journal names it; empty: none
    std::optional<std::int64_t> gpu_bytes;
    std::size_t slots = 1;
    bool lacks_gpu = false;          ///< a GPU would be used, and none is known
    std::optional<Journal> own;      ///< the sweep's journal, where it has begun
    std::optional<Journal> earlier;  ///< the one to learn from
};

std::vector<Gpu> gpus_of(const Options& options, const std::vector<PlannedCell>& plan) {
    const GpuInventory inventory = query_gpus();
    // Whoever plans may sit elsewhere: then GPUs that the config names are not missing.
    if (!uses_gpu(plan) || inventory.gpus.empty()) return {};
    return usable_gpus(inventory, std::getenv("CUDA_VISIBLE_DEVICES"), options.gpus);
}

Place place_of(const Options& options, const std::vector<PlannedCell>& plan) {
    Place place;
    const std::vector<Gpu> gpus = gpus_of(options, plan);
    place.device = choose_device(plan, gpus).device;
    place.gpu = describe_gpus(gpus);
    place.gpu_bytes = gpu_bytes(options, gpus);
    place.slots = make_slots(options, place.device, gpus).size();
    if (const fs::path file = options.folder() / "journal.jsonl"; fs::exists(file))
        place.own = Journal::read(file);
    if (!options.learn_from.empty())
        place.earlier = gpus.empty() ? read_earlier_journal(options.learn_from)
                                     : read_witness_journal(options.learn_from, place.gpu);
    if (!gpus.empty() || !uses_gpu(plan)) return place;
    // There is no GPU here: the sweep's own journal says where it runs, else the other one does.
    for (const auto* journal : {&place.own, &place.earlier}) {
        if (!*journal || !(*journal)->setting()) continue;
        place.gpu = (*journal)->setting()->gpu;
        break;
    }
    place.lacks_gpu = place.gpu.empty() && !place.gpu_bytes;
    if (!place.lacks_gpu) {
        place.device = Device::cuda;
        place.slots = options.launcher.empty() ? std::max<std::size_t>(1, options.gpus.size())
                                               : static_cast<std::size_t>(options.jobs);
    }
    return place;
}

/// What adds up over the cells.
struct Totals {
    double all_ms = 0;
    double left_ms = 0;
    double longest_ms = 0;
    std::size_t left = 0;
    std::size_t untimed = 0;
    std::size_t measured = 0;
    std::size_t without_room = 0;  ///< with a peak, and nothing to hold it against
    std::vector<const PlannedCell*> unfit;
    std::vector<const PlannedCell*> tight;
};

/// What a cell takes of the sweep's time: one that does not fit ends early, or is not run.
std::optional<double> sweep_share_ms(const Options& options, const Prediction& prediction,
                                     std::optional<Fit> fit) {
    if (fit != Fit::no) return prediction.cell_ms;
    return options.fitting ? std::optional(0.0) : prediction.overhead_ms;
}

void add_row(Table& table, const PlannedCell& planned, const Prediction& prediction,
             std::optional<std::int64_t> available, std::optional<Fit> fit) {
    const Cell& cell = planned.cell;
    table.add_row();
    table.set("key", planned.key);
    table.set("cell", describe(cell));
    table.set("parameters", num_params(model_config(cell)));
    if (cell.custom.empty())
        table.set("step_tflop", step_flops(model_config(cell), cell.batch_size, cell.context_length,
                                           cell.pass_type, cell.activation_checkpointing)
                                        .model /
                                    1e12);
    if (prediction.peak_bytes) table.set("predicted_peak_bytes", *prediction.peak_bytes);
    if (const auto& memory = prediction.memory) {
        table.set("predicted_parameters_bytes", memory->parameters);
        table.set("predicted_gradients_bytes", memory->gradients);
        table.set("predicted_optimizer_bytes", memory->optimizer);
        table.set("predicted_activations_bytes", memory->activations);
        table.set("predicted_workspace_bytes", memory->workspace);
    }
    if (available) table.set("available_bytes", *available);
    if (fit) table.set("fits", to_text(*fit));
    if (prediction.step_ms) table.set("predicted_time_ms", *prediction.step_ms);
    if (prediction.cell_ms) {
        table.set("predicted_elapsed_ms", *prediction.cell_ms);
        table.set("predicted_elapsed_s", *prediction.cell_ms / 1e3);
    }
    if (prediction.step_ms) table.set("basis", to_text(prediction.basis));
}

/// What the probes of a GPU's matrix product take before the first cell.
double probes_ms(const Options& options, const Place& place, const std::vector<PlannedCell>& plan) {
    if (!options.worker.empty() || !options.launcher.empty() || place.own) return 0;
    constexpr Passes none{.memory = false, .pipelined = false, .energy = false};
    std::set<Precision> precisions;
    for (const PlannedCell& planned : plan)
        if (on_device(planned.cell, place.device).device == Device::cuda &&
            planned.cell.passes != none)
            precisions.insert(planned.cell.precision);
    return probe_ms * static_cast<double>(precisions.size());
}

std::string list_cells(const std::string& title, const std::vector<const PlannedCell*>& cells) {
    constexpr std::size_t most = 10;
    if (cells.empty()) return {};
    std::string text = title + ": " + counted(cells.size(), "cell") + "\n";
    for (std::size_t i = 0; i < cells.size() && i < most; ++i)
        text += "  " + cells[i]->key + "  " + describe(cells[i]->cell) + "\n";
    if (cells.size() > most) text += "  and " + std::to_string(cells.size() - most) + " more\n";
    return text;
}

std::string time_line(const Totals& totals, const Place& place, double probes_ms,
                      std::size_t cells) {
    if (totals.untimed == cells)
        return "no time is predicted: nothing is known of " +
               (place.gpu.empty() ? "the " + to_text(place.device) + " here" : place.gpu) +
               " yet; name a journal of it with learn-from, or begin the sweep\n";
    const auto slots = static_cast<double>(place.slots);
    const double all_ms = std::max(totals.all_ms / slots, totals.longest_ms) + probes_ms;
    std::string text = "predicted time: " + format_duration(all_ms) +
                       (place.gpu.empty() ? "" : " on " + place.gpu);
    if (place.slots > 1) text += ", " + std::to_string(place.slots) + " cells at a time";
    if (totals.left < cells)
        text += "; for the " + std::to_string(totals.left) + " left " +
                format_duration(totals.left_ms / slots + (totals.left > 0 ? probes_ms : 0));
    if (totals.untimed > 0)
        text += "; without " + counted(totals.untimed, "cell") + " of which nothing is known";
    return text + "\n";
}

std::string summary_of(const Options& options, const Totals& totals, const Place& place,
                       double probes_ms, std::size_t cells) {
    std::string text = counted(cells, "cell") + "\n";
    if (place.lacks_gpu)
        text +=
            "there is no GPU here: planned for the CPU; for a GPU give its memory with gpu-memory, "
            "or a journal of it with learn-from\n";
    text += time_line(totals, place, probes_ms, cells);
    if (totals.measured > 0)
        text += counted(totals.measured, "cell") + " predicted by what was measured of the same\n";
    if (totals.without_room > 0)
        text += "the memory of the GPU is not known here: give it with gpu-memory\n";
    text +=
        list_cells(options.fitting ? "expected not to fit, will be skipped" : "expected not to fit",
                   totals.unfit);
    return text + list_cells("tight", totals.tight);
}

}  // namespace

Forecast make_forecast(const Options& options) {
    const std::vector<PlannedCell> plan = make_plan(options.grid);
    const Place place = place_of(options, plan);
    Predictor predictor(place.gpu, to_text(options.isolation),
                        options.launcher.empty() ? options.standby : StandbyMode::off);
    if (place.own) predictor.learn_from(*place.own);
    if (place.earlier) predictor.learn_from(*place.earlier);

    Forecast forecast;
    Totals totals;
    for (const PlannedCell& planned : plan) {
        const Cell cell = on_device(planned.cell, place.device);
        const Prediction prediction = predictor.predict(cell);
        std::optional<std::int64_t> available;
        if (prediction.peak_bytes) available = available_bytes(cell, place.gpu_bytes);
        std::optional<Fit> fit;
        if (available) fit = fit_of(cell, *prediction.peak_bytes, *available);
        add_row(forecast.table, planned, prediction, available, fit);

        if (prediction.peak_bytes && !available) ++totals.without_room;
        if (fit == Fit::no) totals.unfit.push_back(&planned);
        if (fit == Fit::tight) totals.tight.push_back(&planned);
        if (prediction.step_ms && prediction.basis == PredictionBasis::measured) ++totals.measured;
        const bool is_left = !place.own || !place.own->history(planned.key).is_done();
        const auto share = sweep_share_ms(options, prediction, fit);
        totals.left += is_left ? 1 : 0;
        totals.untimed += share ? 0 : 1;
        totals.all_ms += share.value_or(0);
        totals.longest_ms = std::max(totals.longest_ms, share.value_or(0));
        totals.left_ms += is_left ? share.value_or(0) : 0;
    }
    forecast.summary =
        summary_of(options, totals, place, probes_ms(options, place, plan), plan.size());
    return forecast;
}

std::vector<ShownColumn> shown_forecast() {
    return {{"key", "key", 0, ShowAs::text},
            {"cell", "cell", 0, ShowAs::text},
            {"parameters", "parameters"},
            {"step_tflop", "TFLOP/step"},
            {"predicted_peak_bytes", "peak GiB", 2, ShowAs::gibibytes},
            {"predicted_parameters_bytes", "weights", 2, ShowAs::gibibytes},
            {"predicted_gradients_bytes", "gradients", 2, ShowAs::gibibytes},
            {"predicted_optimizer_bytes", "optimizer", 2, ShowAs::gibibytes},
            {"predicted_activations_bytes", "activations", 2, ShowAs::gibibytes},
            {"predicted_workspace_bytes", "workspace", 2, ShowAs::gibibytes},
            {"available_bytes", "of GiB", 2, ShowAs::gibibytes},
            {"fits", "fits"},
            {"predicted_time_ms", "step ms", 1},
            {"predicted_elapsed_s", "cell s", 1}};
}

}  // namespace isosweep
