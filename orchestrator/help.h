#pragma once

#include <string>

#include "orchestrator/options.h"

namespace isosweep {

/// What `isosweep --help` prints.
extern const char* const overview;

/// What `isosweep VERB --help` prints: usage and every flag.
std::string help_of(Verb verb);

}  // namespace isosweep
