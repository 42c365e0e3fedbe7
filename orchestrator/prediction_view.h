#pragma once

#include <vector>

#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// The view `prediction`: each cell that is ok with what was predicted of it and by how much that
/// was off, and behind them a row with the medians of the errors' sizes.
Table prediction_rows(const Table& cells);
std::vector<ShownColumn> shown_prediction(const Table& rows);

}  // namespace isosweep
