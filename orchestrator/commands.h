#pragma once

#include <string>
#include <vector>

#include "orchestrator/options.h"

namespace isosweep {

/// Each command of the program: does it and returns its exit code. \throws Failure

/// Runs what is missing. `arguments`, the program's name first, are repeated in the commands that
/// it suggests.
int run_sweep(const Command& command, const std::vector<std::string>& arguments);
int print_plan(const Command& command);
int print_status(const Command& command);
int merge(const Command& command);
int print_report(const Command& command);
/// \returns 1 where something is worse
int print_comparison(const Command& command);

}  // namespace isosweep
