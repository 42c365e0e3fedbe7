#pragma once

#include <isosweep/cell.h>

#include <string>

#include "orchestrator/placement.h"

namespace isosweep {

/// The cell as a worker gets it: `auto` and `cuda` are what they mean in this sweep.
inline Cell on_device(Cell cell, Device device) {
    if (cell.device != Device::cpu) cell.device = device;
    return cell;
}

/// A place for one worker at a time.
struct Slot {
    std::string gpu_uuid;  ///< the GPU that its workers see; empty: whatever they find
    Placement placement = {};
};

}  // namespace isosweep
