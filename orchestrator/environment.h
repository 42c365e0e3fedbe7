#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace isosweep {

/// The environment of this process, as "NAME=value".
std::vector<std::string> own_environment();

/// Whether a variable ("NAME=value") looks as if it held what nobody else shall read: by its name,
/// or because its value holds a URL with a user, a private key, or "password=...".
bool looks_secret(std::string_view variable);

/// An environment to be kept and shown: sorted, the values of what `looks_secret` as "***", without
/// the token of a worker. A pure function.
std::vector<std::string> masked_environment(std::vector<std::string> environment);

/// Of an environment what can change a measurement (CUDA_*, OMP_*, LD_PRELOAD and the like), sorted
/// and without what `looks_secret` or has a name that a shell cannot set. A pure function.
std::vector<std::string> measurement_environment(std::vector<std::string> environment);

/// Variables as a text of one line each; control characters in a value become "\n" or "\x1b".
std::string environment_text(const std::vector<std::string>& environment);

}  // namespace isosweep
