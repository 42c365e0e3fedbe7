#pragma once

#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/options.h"
#include "orchestrator/plan.h"
#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// One row per planned cell in plan order, all columns (docs/BENCHMARKING.md). Derived from the
/// journal alone, so that it can be made again at any time.
Table make_cells_table(const std::vector<PlannedCell>& plan, const Journal& journal);

/// The table as a view lays it out: its columns first; `phases` keeps only the forward_backward
/// cells, `warmup` adds the difference to 5 warm-up steps. Works on a table read from a CSV, too.
Table apply_view(const Table& cells, View view);

/// The columns of a view that a person is shown: of a cell's other fields and of the custom axes
/// those that are not the same in all rows.
std::vector<ShownColumn> shown_columns(View view, const Table& table);

}  // namespace isosweep
