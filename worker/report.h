#pragma once

#include <isosweep/cell.h>
#include <isosweep/outcome.h>

#include <boost/json/object.hpp>
#include <string>

#include "run_cell.h"

namespace isosweep {

/// A measured cell as a person reads it: what ran on what, times, arithmetic, memory, flags.
std::string report_text(const Cell& cell, const CellResult& result);

/// What `inspect` found of a cell as a person reads it: files, and the step's time by group.
std::string inspection_text(const Cell& cell, const boost::json::object& measurement);

/// A failed cell in one line: "oom_gpu in backward: ...; asked for 8.0 GiB, 1.2 GiB free of 16
/// GiB".
std::string failure_text(Status status, const boost::json::object& error);

}  // namespace isosweep
