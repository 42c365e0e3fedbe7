#include "orchestrator/probe.h"

#include <set>

namespace isosweep {

std::vector<Probe> missing_probes(const std::vector<PlannedCell>& cells, Device device,
                                  const std::vector<Slot>& slots, const Journal& journal) {
    constexpr Passes none{.memory = false, .pipelined = false, .energy = false};
    std::set<Precision> precisions;
    for (const PlannedCell& planned : cells)
        if (on_device(planned.cell, device).device == Device::cuda && planned.cell.passes != none)
            precisions.insert(planned.cell.precision);
    std::vector<Probe> probes;
    for (std::size_t slot = 0; slot < slots.size(); ++slot)
        for (const Precision precision : precisions)
            if (!slots[slot].gpu_uuid.empty() &&
                !journal.attainable_tflops(slots[slot].gpu_uuid, precision))
                probes.push_back({slot, precision});
    return probes;
}

}  // namespace isosweep
