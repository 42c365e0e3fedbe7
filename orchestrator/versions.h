#pragma once

#include <string>

namespace isosweep {

/// What `--version` prints: this build in the first line, behind it the libraries that it was built
/// with, the C library that it runs with, and what it uses of the machine where that is there.
std::string version_text();

}  // namespace isosweep
