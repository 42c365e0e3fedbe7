#include <isosweep/flops.h>

namespace isosweep {

std::int64_t matmul_params(const ModelConfig& c) {
    return c.num_layers * (4 * c.d_model * c.d_model + 3 * c.d_model * c.d_ff) +
           c.d_model * c.vocab_size;
}

ForwardFlops forward_flops(const ModelConfig& config, std::int64_t batch_size,
                           std::int64_t context_length) {
    const auto context = static_cast<double>(context_length);
    const double tokens = static_cast<double>(batch_size) * context;
    const double width =
        static_cast<double>(config.d_model) * static_cast<double>(config.num_layers);
    ForwardFlops flops;
    flops.linear = 2 * tokens * static_cast<double>(matmul_params(config));
    flops.attention = 4 * tokens * context * width;
    flops.causal_attention = 2 * tokens * (context + 1) * width;
    return flops;
}

StepFlops step_flops(const ModelConfig& config, std::int64_t batch_size,
                     std::int64_t context_length, PassType pass_type,
                     bool activation_checkpointing) {
    const ForwardFlops forward = forward_flops(config, batch_size, context_length);
    const bool has_backward = pass_type != PassType::forward;
    const double passes = has_backward ? 3 : 1;
    const double executed = passes + (has_backward && activation_checkpointing ? 1 : 0);
    return {passes * forward.full(), passes * forward.causal(), executed * forward.full()};
}

}  // namespace isosweep
