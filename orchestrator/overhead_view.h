#pragma once

#include <vector>

#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// The view `overhead`: where each cell's time goes beside its steps, and a last row with the sums,
/// whose `model_size` is "all".
Table overhead_rows(const Table& cells);
std::vector<ShownColumn> shown_overhead(const Table& rows);

}  // namespace isosweep
