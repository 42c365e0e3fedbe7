#pragma once

#include <isosweep/cell.h>
#include <isosweep/model_config.h>

#include <cstdint>

/// How much arithmetic a step is. Only matrix products count, a multiplication and an addition as 2
/// FLOPs. FLOPs are doubles: they are beyond integers for sizes that a cell may have.
namespace isosweep {

/// Parameters that are factors of matrix products: L (4 d^2 + 3 d f) + d V. That is all but the
/// input embedding, which is looked up, and the norms.
std::int64_t matmul_params(const ModelConfig& config);

/// FLOPs of one forward pass over `batch_size` sequences of `context_length` tokens.
struct ForwardFlops {
    double linear = 0;            ///< 2 B T matmul_params
    double attention = 0;         ///< scores and values over all of T^2: 4 B T^2 d L
    double causal_attention = 0;  ///< over the part that the mask leaves: 2 B T (T + 1) d L

    double full() const { return linear + attention; }
    double causal() const { return linear + causal_attention; }
};
ForwardFlops forward_flops(const ModelConfig& config, std::int64_t batch_size,
                           std::int64_t context_length);

/// FLOPs of one step. A backward pass is two forward passes: each product has two gradients. The
/// optimizer is not counted.
struct StepFlops {
    /// What the model asks for, attention over all of T^2: the convention of PaLM (Chowdhery et al.
    /// 2022, appendix B; 6 N + 12 L H Q T a token, N without the input embedding and the norms).
    double model = 0;
    double model_causal =
        0;                ///< with attention over the causal part alone: no step can do with less
    double hardware = 0;  ///< `model` and the forward pass that checkpointing does once more
};
StepFlops step_flops(const ModelConfig& config, std::int64_t batch_size,
                     std::int64_t context_length, PassType pass_type,
                     bool activation_checkpointing);

}  // namespace isosweep
