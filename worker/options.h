#pragma once

#include <isosweep/cell.h>

#include <stdexcept>
#include <string>

namespace isosweep {

/// A command line that cannot be taken: one line naming the flag, the value and what was expected.
class UsageError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The worker's command line.
struct Options {
    enum class Action { run, probe, serve, help, version };
    Action action = Action::run;
    Cell cell;            ///< what to run by hand; of a probe only its precision counts
    bool json = false;    ///< print the result line of the protocol instead of text
    bool strict = false;  ///< a measurement with flags is a failure
};

/// \throws UsageError
Options parse_options(int argc, const char* const* argv);

/// The text of --help.
std::string help_text();

}  // namespace isosweep
