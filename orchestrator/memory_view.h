#pragma once

#include <vector>

#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// The view `memory`: every cell with `memory_room_bytes` (its gpu-memory-limit, else its GPU's
/// memory, where that is known) and `memory_share_percent`, the part of it that tensors hold at the
/// peak.
Table memory_rows(const Table& cells);
std::vector<ShownColumn> shown_memory(const Table& rows);

}  // namespace isosweep
