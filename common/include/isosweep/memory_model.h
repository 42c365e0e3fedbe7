#pragma once

#include <isosweep/cell.h>

#include <cstdint>

/// How much of a GPU's memory a step takes, worked out from what our own worker keeps and when
/// (docs/BENCHMARKING.md, "Predictions"). What another worker takes, nobody knows here.
namespace isosweep {

/// What a step holds at the moment when it holds most, in bytes; the parts as the worker's ledger
/// has them (`parameters_bytes` and so on), except that rounding to whole blocks is in its part.
struct MemoryPrediction {
    std::int64_t parameters = 0;  ///< and buffers
    std::int64_t gradients = 0;   ///< that are there at that moment
    std::int64_t optimizer = 0;   ///< moments of AdamW
    std::int64_t activations =
        0;                       ///< what forward has left for backward, casts of weights included
    std::int64_t workspace = 0;  ///< of the operations at work and of cuBLAS

    /// What corresponds to `peak_allocated_bytes`.
    std::int64_t peak() const {
        return parameters + gradients + optimizer + activations + workspace;
    }
};

/// For any cell; sizes beyond 2^60 bytes are told as that.
MemoryPrediction predict_memory(const Cell& cell);

}  // namespace isosweep
