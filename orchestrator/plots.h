#pragma once

#include <vector>

#include "orchestrator/gnuplot.h"
#include "orchestrator/journal.h"
#include "orchestrator/table.h"

namespace isosweep {

/// The plots that a sweep has the data for, in the order of a report: step time, MFU, peak memory,
/// warm-up curves, phase shares, timeline. Warm-up curves and timeline need the sweep's journal:
/// without one (nullptr) they are not there.
std::vector<Plot> make_plots(const Table& cells, const Journal* journal);

}  // namespace isosweep
