#pragma once

#include <optional>
#include <string>
#include <vector>

#include "orchestrator/options.h"
#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// These columns of a table in a format; a CSV has all of them.
std::string printed(const Table& table, const std::vector<ShownColumn>& shown, Format format);

/// What the command `report` is to print: a table, or a page. With `--plots` it writes these first;
/// nothing else is to be printed where nothing else was asked for. Warnings go to stderr.
/// \throws UsageError where there is no such sweep, EnvironmentError where `--plots` finds no
/// gnuplot, ResultsError
std::optional<std::string> make_report(const Command& command);

}  // namespace isosweep
