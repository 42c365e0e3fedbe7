#pragma once

#include <isosweep/nvml.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/options.h"
#include "orchestrator/plan.h"
#include "orchestrator/slot.h"

namespace isosweep {

/// The GPUs of `inventory` that a sweep may use: those that CUDA_VISIBLE_DEVICES leaves (empty text
/// or absent: all), and of these the ones that `gpus` names by index or UUID.
/// \throws UsageError for one that is not there
std::vector<Gpu> usable_gpus(const GpuInventory& inventory, const char* visible_devices,
                             const std::vector<std::string>& gpus);

/// Whether some cell may run on a GPU.
bool uses_gpu(const std::vector<PlannedCell>& plan);

/// "NVIDIA H200 (140 GiB)", each kind once, joined by ", ".
std::string describe_gpus(const std::vector<Gpu>& gpus);

/// What `auto` and `cuda` mean for a plan on a machine with these GPUs: cuda, or cpu with a warning
/// where a cell asks for cuda and there is none.
struct DeviceChoice {
    Device device = Device::cpu;
    std::string warning;
};
DeviceChoice choose_device(const std::vector<PlannedCell>& plan, const std::vector<Gpu>& gpus);

/// The same where a cluster places the workers, whose GPUs are not this machine's: cuda where a
/// cell asks for it or the launcher asks for GPUs.
DeviceChoice choose_device_of_cluster(const std::vector<PlannedCell>& plan,
                                      const std::vector<std::string>& launcher);

/// The memory that predictions are held against: what the options say, else what the smallest of
/// the GPUs has, unless a launcher finds other ones. Absent where nobody knows.
std::optional<std::int64_t> gpu_bytes(const Options& options, const std::vector<Gpu>& gpus);

/// The sweep's slots: one per GPU, or `jobs` where there is none or a launcher places the workers.
std::vector<Slot> make_slots(const Options& options, Device device, const std::vector<Gpu>& gpus);

/// Several slots with their shares of our cores, each beside its GPU where that is known. One slot,
/// those behind a launcher, and all with `cpu-affinity = off` stay as they are.
std::vector<Slot> place_slots(std::vector<Slot> slots, const Options& options,
                              const std::vector<Gpu>& gpus);

/// Launcher, worker and "--serve". \throws EnvironmentError where there is no worker
std::vector<std::string> worker_argv(const Options& options);

}  // namespace isosweep
