#pragma once

#include <isosweep/cell.h>

#include <cstddef>
#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/plan.h"
#include "orchestrator/slot.h"

namespace isosweep {

/// A measurement of a slot's GPU itself, before its cells: how fast it multiplies large matrices in
/// this precision, which is what a cell's speed can be compared with.
struct Probe {
    std::size_t slot = 0;
    Precision precision = Precision::fp32;
    bool operator==(const Probe&) const = default;
};

/// The probes that the journal lacks for these cells: each precision that some of them uses on a
/// GPU, unless with `passes = none`, on each slot that has a GPU. `device` is what the sweep's
/// `auto` and `cuda` mean. A pure function.
std::vector<Probe> missing_probes(const std::vector<PlannedCell>& cells, Device device,
                                  const std::vector<Slot>& slots, const Journal& journal);

}  // namespace isosweep
