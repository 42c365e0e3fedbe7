#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isosweep {

/// The dimensions of a decoder-only Transformer as the course (CS336) defines it.
struct ModelConfig {
    std::int64_t d_model = 768;    ///< width of the residual stream; num_heads divides it
    std::int64_t d_ff = 3072;      ///< inner width of the SwiGLU feed-forward layer
    std::int64_t num_layers = 12;  ///< Transformer blocks
    std::int64_t num_heads = 12;   ///< attention heads; d_model / num_heads is even (rotary pairs)
    std::int64_t vocab_size = 10000;  ///< rows of the embedding and of the output projection

    bool operator==(const ModelConfig&) const = default;
};

/// The known sizes by name, smallest first: tiny, small, medium, large, xl, 2.7B, 10B.
const std::vector<std::pair<std::string, ModelConfig>>& model_configs();

/// The size of this name. \returns nullptr where there is none
const ModelConfig* find_model_config(std::string_view name);

/// Why no such model can be built, or empty: "num_heads (7) does not divide d_model (768)".
std::string invalid_reason(const ModelConfig& config);

/// Trainable parameters: V*d (embedding) + L*(4*d*d + 3*d*f + 2*d) + d + d*V (output projection,
/// not tied to the embedding). No biases.
std::int64_t num_params(const ModelConfig& config);

}  // namespace isosweep
