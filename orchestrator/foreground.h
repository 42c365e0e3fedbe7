#pragma once

#include <isosweep/cell.h>
#include <isosweep/outcome.h>

#include "orchestrator/scheduler.h"
#include "orchestrator/worker_session.h"

namespace isosweep {

/// Runs one cell without a journal, with the worker's stderr on ours. Ctrl-C kills the worker.
Outcome run_in_foreground(WorkerCommand worker, const Slot& slot, const Cell& cell);

}  // namespace isosweep
