#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isosweep {

/// An NVIDIA GPU of this machine as the driver's management library knows it.
struct Gpu {
    int index = 0;
    std::string uuid;  ///< "GPU-..."
    std::string name;  ///< "NVIDIA H200"
    std::int64_t memory_bytes = 0;
};

/// The machine's GPUs and driver.
struct GpuInventory {
    std::string driver;  ///< "580.159.04"; empty where there is none
    std::vector<Gpu> gpus;
};

/// Asks NVML (libnvidia-ml.so.1, loaded on demand) what GPUs there are. Starts no CUDA. Without the
/// library or a working driver the inventory is empty.
GpuInventory query_gpus();

}  // namespace isosweep
