#pragma once

#include <isosweep/cell.h>

#include <string>
#include <vector>

#include "orchestrator/options.h"

namespace isosweep {

/// A cell of the plan, or one that follows from it (`fallback`). Its place is its row in the CSV.
struct PlannedCell {
    std::string key;
    Cell cell;
    std::string fallback_of = {};   ///< the planned cell that this one follows from; else empty
    std::string fallback_key = {};  ///< the cell that fits in the place of this one
};

/// The grid's cells: the product of all axes, the first axis changing slowest, each cell once.
/// \throws UsageError for more than a million
std::vector<PlannedCell> make_plan(const Grid& grid);

/// The cells of one shard, in the plan's order. Each cell is in exactly one shard, and every task
/// of a job array finds the same: cells go, the largest first, to the shard that has the least
/// FLOPs so far.
std::vector<PlannedCell> cells_of_shard(std::vector<PlannedCell> plan, const PlanShard& shard);

/// The cells as they are to be run. A shuffled cell's place follows from its key and the seed
/// alone, so that those that are left of a sweep stay in the same order.
std::vector<PlannedCell> in_order(std::vector<PlannedCell> cells, const Order& order);

/// The cells by their predicted time, the longest first, so that slots which take them so end at
/// about the same time. Those that are alike, as replicates are, stay in their order, but not side
/// by side (a b a c b d c d): two slots with the same times would start and end all workers at
/// once, and have the driver do it one after the other.
std::vector<PlannedCell> longest_first(std::vector<PlannedCell> cells);

}  // namespace isosweep
