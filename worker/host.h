#pragma once

#include <cstdint>
#include <optional>
#include <string>

/// What the worker asks of the machine it runs on.
namespace isosweep::host {

/// The CPU's name: "AMD EPYC 9654 96-Core Processor"; "CPU" where Linux does not tell.
std::string cpu_name();

/// The most memory this process held since its start or `reset_peak_resident`, if Linux tells.
std::optional<std::int64_t> peak_resident_bytes();

/// Starts `peak_resident_bytes` anew, where the kernel allows it.
void reset_peak_resident();

/// Milliseconds since this process started (in steps of 10), if Linux tells.
std::optional<double> process_age_ms();

/// CPUs that this process may run on.
std::int64_t cpu_count();

/// CPUs of the machine.
std::int64_t machine_cpu_count();

/// Processes that ran or wanted to in the last minute, on average, if Linux tells.
std::optional<double> load_average();

/// The environment's settings of PyTorch's CUDA allocator; empty for none.
std::string allocator_settings();

/// Whether CUDA_LAUNCH_BLOCKING makes each launch wait.
bool is_launch_blocking();

}  // namespace isosweep::host
