#pragma once

#include <ATen/record_function.h>

namespace isosweep {

/// While it lives, what the backward pass runs for an operation lies in NVTX ranges by the names of
/// the regions that were open around the operation in the forward pass, "forward" turned into
/// "backward". Without it a profiler shows the backward pass as one piece: it runs on a thread of
/// its own, where no region is open. One at a time.
class BackwardRanges {
  public:
    BackwardRanges();
    ~BackwardRanges();
    BackwardRanges(const BackwardRanges&) = delete;
    BackwardRanges& operator=(const BackwardRanges&) = delete;

  private:
    at::CallbackHandle callback_;
};

}  // namespace isosweep
