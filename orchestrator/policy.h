#pragma once

#include <isosweep/outcome.h>

#include <chrono>
#include <string_view>

#include "orchestrator/evidence.h"
#include "orchestrator/journal.h"
#include "orchestrator/options.h"

namespace isosweep {

/// Whether others should keep still while a worker is in this phase: it is timed, or we do not
/// know.
bool is_timed(std::string_view phase);

/// What to do after an attempt at a cell.
struct NextStep {
    Decision decision = Decision::record;
    std::chrono::milliseconds delay{};  ///< before a further attempt
    bool in_this_run = true;            ///< whether that is not left to the next run
};

/// Decides from how the attempt ended and from the outcomes since the last recorded one that asked
/// for another attempt. A pure function.
///
/// An attempt that the user or the cluster broke off does not count, nor does one whose worker does
/// not fit the sweep. What the cluster took away is run again up to three times, after a pause;
/// then, and after the user, by the next run. Nor does one whose worker died before it took the
/// request count; since a request can itself be what kills a worker, such a cell is tried again
/// only as often as `retry` allows for `spawn_failed`.
NextStep decide(const Evidence& seen, const Outcome& outcome, const CellHistory& history,
                const RetryRule& rule);

}  // namespace isosweep
