#pragma once

#include <isosweep/cell.h>

#include <string>
#include <vector>

#include "orchestrator/options.h"

namespace isosweep {

/// A cell of the plan. Its place in the plan is its row in the CSV.
struct PlannedCell {
    std::string key;
    Cell cell;
};

/// The grid's cells: the product of all axes, the first axis changing slowest, each cell once.
/// \throws UsageError for more than a million
std::vector<PlannedCell> make_plan(const Grid& grid);

}  // namespace isosweep
