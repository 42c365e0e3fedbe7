#pragma once

#include <string>

namespace isosweep {

/// What was built: "0.1.0+3fa9c1d2 Release gcc-12.2.0"; "-dirty" behind the revision where the
/// working tree had changes, "unknown" where it was built outside a git checkout.
std::string build_id();

/// The project's version alone: "0.1.0".
std::string version();

/// Whether the program was built without optimisation or with a sanitizer, and so measures nothing
/// worth keeping.
bool is_debug_build();

}  // namespace isosweep
