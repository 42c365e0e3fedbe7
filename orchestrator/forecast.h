#pragma once

#include <string>
#include <vector>

#include "orchestrator/options.h"
#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// What `isosweep plan` tells of a sweep that need not have begun.
struct Forecast {
    /// A row per planned cell, bytes and milliseconds (docs/BENCHMARKING.md, "Predictions").
    Table table;
    /// Lines for a person: how many cells, how long they take, which will not fit, and what is not
    /// known.
    std::string summary;
};

/// Foresees the sweep of `options` on this machine's GPUs; where there are none, on those of its
/// journal or of the one to learn from. Starts nothing and writes nothing. \throws Failure
Forecast make_forecast(const Options& options);

/// The columns of its table that a person is shown.
std::vector<ShownColumn> shown_forecast();

}  // namespace isosweep
