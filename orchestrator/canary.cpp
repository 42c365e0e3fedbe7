#include "orchestrator/canary.h"

#include <isosweep/flops.h>

#include <algorithm>
#include <cmath>

namespace isosweep {

std::optional<Cell> choose_canary(const std::vector<PlannedCell>& plan, Device device,
                                  bool is_our_own) {
    std::optional<Cell> cheapest;
    double least = 0;
    for (const PlannedCell& planned : plan) {
        const Cell cell = on_device(planned.cell, device);
        if (device == Device::cuda && cell.device != Device::cuda) continue;
        const double flops = step_flops(model_config(cell), cell.batch_size, cell.context_length,
                                        cell.pass_type, cell.activation_checkpointing)
                                 .hardware;
        if (cheapest && flops >= least) continue;
        cheapest = cell;
        least = flops;
    }
    if (!cheapest || !is_our_own) return cheapest;
    Cell& canary = *cheapest;
    canary.sync = true;
    canary.cuda_graph = canary.device == Device::cuda;
    canary.activation_checkpointing = false;
    canary.warmup_steps = StepCount();
    canary.measure_steps = StepCount();
    canary.passes = {.memory = false};
    canary.gpu_memory_limit = {};
    canary.replicate = 1;
    if (canary.device == Device::cpu && canary.precision == Precision::tf32)
        canary.precision = Precision::fp32;  // the other needs a GPU
    return cheapest;
}

bool is_canary_due(const CanaryTurn& turn, bool has_cells) {
    constexpr int enough = 3;
    if (turn.failures >= enough) return false;
    if (has_cells) return !turn.was_tried || turn.cells_since >= canary_block;
    return turn.cells_since > 0;
}

std::optional<double> canary_ratio(const Journal& journal, const EndedAttempt& attempt) {
    const WorkerRecord* const worker = journal.worker(attempt.token);
    if (!worker) return std::nullopt;
    const CanaryLog& log = journal.canaries(place_of(*worker));
    const std::vector<double>& all = log.medians_ms;
    if (attempt.canaries_before == 0 || attempt.canaries_before >= all.size()) return std::nullopt;
    const double before = all[attempt.canaries_before - 1] / log.median_ms;
    const double after = all[attempt.canaries_before] / log.median_ms;
    return std::abs(before - 1) > std::abs(after - 1) ? before : after;
}

bool is_drift(double canary_ratio) { return std::abs(canary_ratio - 1) > drift_limit; }

std::vector<DriftedCell> drifted_cells(const std::vector<PlannedCell>& rows,
                                       const Journal& journal) {
    std::vector<DriftedCell> drifted;
    for (const PlannedCell& row : rows) {
        const CellHistory& history = journal.history(row.key);
        if (!history.recorded || history.recorded->status != Status::ok) continue;
        const int attempt = history.recorded->number;
        if (history.drifted_attempt != 0 && history.drifted_attempt != attempt) continue;
        const auto ratio = canary_ratio(journal, *history.recorded);
        if (ratio && is_drift(*ratio)) drifted.push_back({row, attempt, *ratio});
    }
    return drifted;
}

bool has_open_block(const std::vector<Slot>& slots, const Journal& journal) {
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
        const CanaryLog& log = journal.canaries(place_of(slots[slot].gpu_uuid, slot));
        if (!log.medians_ms.empty() && log.cells_since > 0) return true;
    }
    return false;
}

}  // namespace isosweep
