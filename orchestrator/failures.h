#pragma once

#include <filesystem>
#include <vector>

#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// The view `failures`: every cell that is not ok, those with the same cause together: status,
/// phase and how the worker ended. `cause_cells` counts them.
Table failure_rows(const Table& cells);
std::vector<ShownColumn> shown_failures(const Table& rows);

/// The same cells with the column `repro`: the script below a sweep's folder that runs a cell
/// again, where there is one.
Table with_repro_scripts(const Table& cells, const std::filesystem::path& folder);

}  // namespace isosweep
