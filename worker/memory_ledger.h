#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "device.h"
#include "step.h"

namespace isosweep {

/// What the GPU's memory holds at the moment when a step holds most of it, in bytes as requested.
/// The parts, found block by block, and `rounding` should add up to `peak_allocated`; `error` is
/// what they lack.
struct MemoryLedger {
    std::int64_t parameters = 0;  ///< and buffers
    std::int64_t gradients = 0;
    std::int64_t optimizer = 0;    ///< moments and step counts
    std::int64_t activations = 0;  ///< what forward leaves for backward, casts of weights and the
                                   ///< batch included
    std::int64_t workspace = 0;    ///< what operations need while they run, libraries' own included
    std::int64_t rounding = 0;     ///< of requests to whole blocks
    std::int64_t peak_allocated = 0;  ///< by the allocator's own count
    std::int64_t error = 0;           ///< peak_allocated - all parts
};

/// What `account` needs to know beside the log.
struct KnownMemory {
    std::int64_t parameters = 0;  ///< bytes, held before the log begins
    std::int64_t optimizer = 0;   ///< likewise
    std::int64_t inputs = 0;      ///< likewise
    /// Gradients and what the step returns (logits, loss): where they lie when it has ended.
    std::vector<std::uintptr_t> gradients;
    std::vector<std::uintptr_t> outputs;
    std::int64_t marker_bytes = 0;  ///< size of the one block that was asked for behind forward
};

/// The ledger of the moment in `log` when most is held. `peak_allocated`, `rounding` and `error`
/// are left at 0.
MemoryLedger account(const std::vector<cuda::AllocationEvent>& log, const KnownMemory& known);

/// Watches one step of a cell on the GPU: make one before the step, and `finish` when it has ended
/// and its gradients are still there. The allocator's peak is counted anew from the beginning.
class MemoryWatch {
  public:
    explicit MemoryWatch(const Step& step);
    ~MemoryWatch();
    MemoryWatch(const MemoryWatch&) = delete;
    MemoryWatch& operator=(const MemoryWatch&) = delete;

    /// Call it between forward and what follows.
    void forward_ended();

    MemoryLedger finish();

  private:
    const Step& step_;
    KnownMemory known_;
    bool logging_ = true;
};

}  // namespace isosweep
