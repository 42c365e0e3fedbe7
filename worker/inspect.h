#pragma once

#include <isosweep/cell.h>

#include "options.h"
#include "run_cell.h"

namespace isosweep {

/// Looks inside single steps of a cell behind its warm-up, one step for each thing asked for; see
/// Inspection. Nothing of it is a measurement of the cell. A cell with a CUDA graph is looked at
/// without the graph, and the result says so ("note").
///
/// Like run_cell it never throws for what befalls the cell. The measurement of an ok result holds
/// "device", "device_name", "num_params" and what was asked for: "breakdown", "trace",
/// "memory_snapshot", "profile".
///
/// \throws UsageError where a file cannot be written; before any work
CellResult inspect(const Cell& cell, const Inspection& inspection);

}  // namespace isosweep
