#pragma once

#include <optional>
#include <string>

#include "orchestrator/options.h"

namespace isosweep {

/// What the command `report` is to print: a table, or a page. With `--plots` it writes these first;
/// nothing else is to be printed where nothing else was asked for. Warnings go to stderr.
/// \throws UsageError where there is no such sweep, EnvironmentError where `--plots` finds no
/// gnuplot, ResultsError
std::optional<std::string> make_report(const Command& command);

}  // namespace isosweep
