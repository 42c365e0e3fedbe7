#pragma once

#include <string>

/// What CUDA's tools offer to look inside a step. As with device.h, tracing_cuda.cpp answers where
/// CUDA is linked and tracing_cpu.cpp elsewhere: ranges are nothing there, and all else throws
/// std::logic_error.
namespace isosweep::cuda {

/// Whether ranges are shown at all: NVTX was there when this was built.
bool has_ranges();

/// Opens a range of this thread, as NVIDIA's profilers show it, within those that are open.
void push_range(const char* name);

/// Closes this thread's innermost range.
void pop_range();

/// Where a profiler that waits for it (`nsys --capture-range=cudaProfilerApi`, `ncu
/// --profile-from-start off`) begins and ends to look.
void start_profiler();
void stop_profiler();

/// Records each allocation with the stack of calls that made it, the last 100,000 of them, from
/// `start_memory_history` on.
void start_memory_history();
void stop_memory_history();

/// The allocator's segments and blocks and what was recorded, as PyTorch's memory viewer reads it
/// (a pickle). Finding the names of the calls may take seconds.
std::string memory_snapshot();

}  // namespace isosweep::cuda
