#pragma once

#include <isosweep/cell.h>

#include <string>
#include <vector>

namespace isosweep {

/// The command line that measures a cell by hand with our own worker, as a shell reads it:
/// "isosweep-worker --model-size small --context-length 512 ...". What stands at its default is
/// left out, but for what names a cell and for the device.
std::string command_by_hand(const Cell& cell);

/// A shell script that asks the worker `argv` for just this cell, on this GPU unless empty.
std::string repro_script(const Cell& cell, const std::vector<std::string>& argv,
                         const std::string& gpu_uuid);

}  // namespace isosweep
