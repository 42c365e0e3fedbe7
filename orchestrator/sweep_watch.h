#pragma once

#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/options.h"
#include "orchestrator/plan.h"
#include "orchestrator/status.h"

namespace isosweep {

/// Looks at a sweep that somebody else runs, also on another machine: again and again, reading only
/// what is new, and touching nothing.
class SweepWatch {
  public:
    /// \throws Failure
    explicit SweepWatch(Options options);

    /// How far it is now. \throws ResultsError where its journal cannot be read
    SweepStatus look();

  private:
    Options options_;
    std::vector<PlannedCell> plan_;
    std::vector<PlannedCell> rows_;
    Journal journal_;
};

/// One look as it is printed.
std::string printed_status(const SweepStatus& status, StatusFormat format);

/// Prints the status until the sweep has ended, or nobody reads it any more: on a terminal the text
/// is drawn anew each second, elsewhere there is a line (or an object) per change.
void follow(SweepWatch& watch, StatusFormat format);

}  // namespace isosweep
