#pragma once

#include <vector>

#include "orchestrator/cells_table.h"
#include "orchestrator/options.h"
#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// The rows of `make_cells_table` as a view lays them out (docs/BENCHMARKING.md). Works on a table
/// that was read from a CSV, too.
Table apply_view(const Table& cells, View view);

/// Whether a view makes each row of a cell alone, so that a table may be laid out part by part.
bool is_row_by_row(View view);

/// The columns of a view that a person is shown. `table` is what `apply_view` made.
std::vector<ShownColumn> shown_columns(View view, const Table& table);

}  // namespace isosweep
