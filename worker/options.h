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
    enum class Action { run, serve, help, version };
    Action action = Action::run;
    Cell cell;          ///< what to run by hand
    bool json = false;  ///< print the result line of the protocol instead of text
};

/// \throws UsageError
Options parse_options(int argc, const char* const* argv);

/// The text of --help.
std::string help_text();

}  // namespace isosweep
