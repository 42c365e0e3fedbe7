#pragma once

#include <isosweep/cell.h>

#include <cstdint>
#include <optional>
#include <string_view>

/// How fast a GPU can multiply matrices, dense, in TFLOP/s. What is not known is absent: a wrong
/// peak is worse than none.
namespace isosweep {

/// The peak that the GPU's datasheet promises, by its name as the driver says it: "NVIDIA H200".
/// Parts of a GPU (MIG) have none.
std::optional<double> datasheet_tflops(std::string_view gpu_name, Precision precision);

/// How fast its memory is by its datasheet, in GB/s (10^9 bytes a second).
std::optional<double> datasheet_gb_per_s(std::string_view gpu_name);

/// What its multiprocessors can do at most at this clock: SMs * FLOPs per clock and SM * clock. A
/// GPU that runs above its datasheet's clock is faster than the datasheet, but never than this.
std::optional<double> max_clock_tflops(int major, int minor, std::int64_t sm_count,
                                       double max_sm_clock_mhz, Precision precision);

}  // namespace isosweep
