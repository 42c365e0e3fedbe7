#pragma once

#include <isosweep/cell.h>
#include <isosweep/model_config.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace isosweep {

class TransformerBlock;

/// How a model computes what it computes.
struct ModelOptions {
    /// reference: operation by operation as the course writes it. fused: the same function by fewer
    /// and larger operations, merged projections and one cast of all weights.
    Kernels kernels = Kernels::reference;
    /// Whether a backward pass runs each block again instead of keeping what happened in it.
    bool activation_checkpointing = false;
};

/// The decoder-only Transformer of the course (CS336): pre-norm RMSNorm, causal attention with
/// rotary positions, SwiGLU, no biases, an output projection that is not tied to the embedding.
/// Parameters carry the course's names; the same seed gives the same ones with all options.
class TransformerImpl : public torch::nn::Module {
  public:
    /// Builds the weights in place on `device`, in fp32, drawn from that device's default
    /// generator. \throws std::invalid_argument where no such model can be
    TransformerImpl(const ModelConfig& config, std::int64_t context_length, torch::Device device,
                    const ModelOptions& options = {});

    /// Token ids [batch, sequence] (int64, sequence at most `context_length()`) to logits
    /// [batch, sequence, vocab_size].
    torch::Tensor forward(const torch::Tensor& ids);

    /// The same through the first `num_blocks` blocks alone, at most all: one of them runs every
    /// operation that all of them do, in a part of the time and memory. No overload of `forward`,
    /// which containers of modules could not tell apart.
    torch::Tensor forward_through(const torch::Tensor& ids, std::size_t num_blocks) const;

    const ModelConfig& config() const { return config_; }
    std::int64_t context_length() const { return context_length_; }
    const ModelOptions& options() const { return options_; }

  private:
    torch::Tensor forward_reference(const torch::Tensor& ids, std::size_t num_blocks) const;
    torch::Tensor forward_fused(const torch::Tensor& ids, std::size_t num_blocks) const;

    ModelConfig config_;
    std::int64_t context_length_;
    ModelOptions options_;
    torch::Tensor embedding_;  ///< [vocab_size, d_model]
    std::vector<std::shared_ptr<TransformerBlock>> blocks_;
    torch::Tensor norm_;            ///< [d_model]
    torch::Tensor projection_;      ///< [vocab_size, d_model]
    torch::Tensor linear_weights_;  ///< all weights of linear layers as one; fused alone
    torch::Tensor rotation_;        ///< [context_length, head size / 2], cos + i sin; fused alone
    // The reference alone:
    torch::Tensor cosines_;      ///< [context_length, head size / 2], fp32
    torch::Tensor sines_;        ///< likewise
    torch::Tensor future_mask_;  ///< [context_length, context_length], true where key > query
};

/// A `Transformer` is a shared reference to its module: a copy is the same model.
TORCH_MODULE(Transformer);

/// A model of these dimensions for sequences of up to `context_length` tokens, built directly on
/// `device`. Seed with torch::manual_seed. \throws std::invalid_argument where no such model can be
Transformer create_model(const ModelConfig& config, std::int64_t context_length,
                         torch::Device device, const ModelOptions& options = {});

}  // namespace isosweep
