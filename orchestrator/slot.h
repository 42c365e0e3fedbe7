#pragma once

#include <string>

namespace isosweep {

/// A place for one worker at a time.
struct Slot {
    std::string gpu_uuid;  ///< the GPU that its workers see; empty: whatever they find
};

}  // namespace isosweep
