#pragma once

#include <vector>

#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// The view `checks`: the measured cells, with what holds them against each other
/// (orchestrator/checks), and in each row the costs that were fitted to it and its like.
Table checked_rows(const Table& cells);
std::vector<ShownColumn> shown_checks(const Table& rows);

}  // namespace isosweep
