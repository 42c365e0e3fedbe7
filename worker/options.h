#pragma once

#include <isosweep/cell.h>

#include <stdexcept>
#include <string>

namespace isosweep {

/// A command line that cannot be taken: one line naming the flag, the value and what was expected.
class UsageError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// What to look into instead of measuring, each in a step of its own.
struct Inspection {
    bool profile = false;    ///< regions as NVTX ranges, between cudaProfilerStart and -Stop
    std::string trace = {};  ///< file for Torch's profiler as a Chrome trace; empty: none
    std::string memory_snapshot = {};  ///< file for the allocator's history, a pickle; empty: none
    bool breakdown = false;            ///< the step's time by operation group

    bool any() const { return profile || !trace.empty() || !memory_snapshot.empty() || breakdown; }
};

/// The worker's command line.
struct Options {
    enum class Action { run, probe, serve, help, version };
    Action action = Action::run;
    Cell cell;  ///< what to run by hand; of a probe only its precision counts
    Inspection inspection;
    std::string probe = {};  ///< its name
    bool json = false;       ///< print the result line of the protocol instead of text
    bool strict = false;     ///< a measurement with flags is a failure
};

/// \throws UsageError
Options parse_options(int argc, const char* const* argv);

/// The text of --help.
std::string help_text();

}  // namespace isosweep
