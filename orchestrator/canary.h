#pragma once

#include <isosweep/cell.h>

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/plan.h"
#include "orchestrator/slot.h"

/// A canary is a cell that is measured again and again between the cells of a sweep: where its time
/// changes, it is the machine that has changed, and what was measured meanwhile is in doubt.
namespace isosweep {

/// How many cells a slot measures between two canaries: a block.
inline constexpr int canary_block = 10;

/// A canary that is further from the others than this share shows a drift.
inline constexpr double drift_limit = 0.02;

/// The cell that serves as canary: the planned one with the least arithmetic, on the GPU where one
/// is used. `device` is what the sweep's `auto` and `cuda` mean. For our own worker (`is_our_own`)
/// it is made steady: as a CUDA graph, so that the host has no part in it, and for as many steps as
/// it takes; another worker gets it as it was planned. Absent for an empty plan. A pure function.
std::optional<Cell> choose_canary(const std::vector<PlannedCell>& plan, Device device,
                                  bool is_our_own);

/// What decides whether it is time for a slot's canary.
struct CanaryTurn {
    bool was_tried = false;  ///< by this run
    int cells_since = 0;     ///< measured in this slot since the last one
    int failures = 0;        ///< of it, in a row
};

/// Whether a slot's canary comes next: before the first cell of a run, after each block, and behind
/// the last cell (`has_cells`: others wait). One that failed three times in a row is given up. A
/// pure function.
bool is_canary_due(const CanaryTurn& turn, bool has_cells);

/// The canary before and the one after an attempt, over the median of all of its slot: that of the
/// two which is further from 1. Absent without both.
std::optional<double> canary_ratio(const Journal& journal, const EndedAttempt& attempt);

/// Whether a ratio shows a drift.
bool is_drift(double canary_ratio);

/// A cell that has to be measured again.
struct DriftedCell {
    PlannedCell cell;
    int attempt = 1;  ///< the one that is in doubt
    double canary_ratio = 1;
};

/// The cells that were measured while the machine drifted, and not again since: each gets one
/// further attempt. A pure function of rows and journal, so that a killed sweep goes on with it.
std::vector<DriftedCell> drifted_cells(const std::vector<PlannedCell>& rows,
                                       const Journal& journal);

/// Whether cells of these slots wait for the canary that ends their block.
bool has_open_block(const std::vector<Slot>& slots, const Journal& journal);

}  // namespace isosweep
