#pragma once

#include "output.h"

namespace isosweep {

/// Speaks the protocol's worker side (docs/PROTOCOL.md): hello, then an answer to each request on
/// stdin until that ends. \returns the exit code: 0, or 1 after a crash of the GPU, with which the
/// process must end without touching a tensor
/// \throws std::exception for a request that is none, and where stdin or stdout fail
int serve(ResultOutput& replies);

}  // namespace isosweep
