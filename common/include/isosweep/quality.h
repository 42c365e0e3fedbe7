#pragma once

#include <isosweep/cell.h>

#include <boost/json/object.hpp>
#include <string>
#include <vector>

namespace isosweep {

/// Whether a measurement can be believed.
struct Verdict {
    std::string invalid_reason;      ///< why it cannot be true, one line; empty where it can
    std::vector<std::string> flags;  ///< what to know before it is believed, in a fixed order
};

/// Judges a worker's measurement of a cell, as it is sent. A check whose fields are not there is
/// not made. docs/BENCHMARKING.md has the thresholds and what each flag means.
Verdict judge(const Cell& cell, const boost::json::object& measurement);

}  // namespace isosweep
