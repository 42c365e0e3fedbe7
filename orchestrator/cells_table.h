#pragma once

#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/plan.h"
#include "orchestrator/table.h"

namespace isosweep {

/// One row per planned cell in plan order, all columns (docs/BENCHMARKING.md). Derived from the
/// journal alone, so that it can be made again at any time.
Table make_cells_table(const std::vector<PlannedCell>& plan, const Journal& journal);

}  // namespace isosweep
