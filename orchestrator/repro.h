#pragma once

#include <isosweep/cell.h>

#include <cstdint>
#include <string>
#include <vector>

namespace isosweep {

/// The command line that measures a cell by hand with our own worker, as a shell reads it:
/// "isosweep-worker --model-size small --context-length 512 ...". What stands at its default is
/// left out, but for what names a cell and for the device.
std::string command_by_hand(const Cell& cell);

/// The request for just this cell, as one line with its end: what a worker reads from its stdin.
std::string repro_request(const Cell& cell);

/// What a script that runs a cell again needs to know of the sweep.
struct ReproSettings {
    std::vector<std::string> argv;  ///< launcher, worker, "--serve"
    std::string gpu_uuid;           ///< the GPU that the worker sees; empty: whatever it finds
    std::vector<std::string> environment;  ///< "NAME=value", what the script sets
    std::int64_t memory_limit = 0;         ///< of the sweep, in bytes; 0: none
};

/// A POSIX shell script that asks a worker for just this cell: plainly, inside gdb (with
/// `repro_request` as request.json beside it), or under compute-sanitizer. It ends with 2 for other
/// words, and with 5 where a tool is missing.
std::string repro_script(const Cell& cell, const ReproSettings& settings);

}  // namespace isosweep
