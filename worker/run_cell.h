#pragma once

#include <isosweep/cell.h>
#include <isosweep/outcome.h>

#include <boost/json/object.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace isosweep {

/// How a cell ended here: its measurement if ok, else what the error was.
struct CellResult {
    Status status = Status::ok;
    boost::json::object measurement;
    boost::json::object error;
    std::vector<std::string> flags;  ///< what to know before the measurement is believed

    /// As the protocol's result line, with its '\n'.
    std::string line(std::string_view nonce) const;
};

/// Measures one cell: builds its model on its device, times its steps, reads the memory they took.
/// Never throws for what befalls the cell. The next cell finds all as this one found it (GPU
/// memory that this one had stays with the process till then); only after Status::crash the process
/// is of no more use. `on_phase` hears build, capture, warmup, measure and the extra passes as they
/// begin, and signs of life between steps.
CellResult run_cell(const Cell& cell, const std::function<void(std::string_view)>& on_phase);

}  // namespace isosweep
