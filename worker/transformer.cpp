#include <ATen/autocast_mode.h>
#include <isosweep/transformer.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "checkpoint.h"
#include "fused.h"
#include "operations.h"
#include "precision.h"
#include "region.h"
#include "weights.h"

namespace isosweep {
namespace {

constexpr double rotary_theta = 10000.0;
constexpr double norm_epsilon = 1e-5;

/// What every block needs to know of the positions of a sequence.
struct Positions {
    torch::Tensor cosines;      ///< [sequence, head size / 2]
    torch::Tensor sines;        ///< likewise
    torch::Tensor future_mask;  ///< [sequence, sequence]
    torch::Tensor rotation;     ///< [sequence, head size / 2], cos + i sin; for fused kernels
};

torch::Tensor norm_weight(std::int64_t size, torch::Device device) {
    return torch::ones({size}, torch::dtype(torch::kFloat).device(device));
}

/// Registers a child module `name` that holds nothing but the parameter `weight`, as the course's
/// Linear, Embedding and RMSNorm do. \returns the parameter
torch::Tensor register_weight(torch::nn::Module& parent, const char* name,
                              const torch::Tensor& weight) {
    const auto child = std::make_shared<torch::nn::Module>(name);
    parent.register_module(name, child);
    return child->register_parameter("weight", weight);
}

torch::Tensor embed(const torch::Tensor& ids, const torch::Tensor& weight) {
    const Region region("embedding");
    return weight.index({ids});
}

/// Root-mean-square norm, computed in fp32 and cast back.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight) {
    const Region region("norm");
    torch::Tensor y = x.to(torch::kFloat);
    y = y * torch::rsqrt(y.pow(2).mean(-1, /*keepdim=*/true) + norm_epsilon);
    return (weight * y).to(x.scalar_type());
}

/// Softmax over the last dimension, written out as the course does.
torch::Tensor softmax(const torch::Tensor& x) {
    const Region region("softmax");
    const torch::Tensor shifted = x - std::get<0>(x.max(-1, /*keepdim=*/true));
    const torch::Tensor exponentials = torch::exp(shifted);
    return exponentials / exponentials.sum(-1, /*keepdim=*/true);
}

/// Rotates the neighbour pairs (0,1), (2,3), ... of the last dimension by their position's angles;
/// the output holds all first halves, then all second halves.
torch::Tensor rotate(const torch::Tensor& x, const Positions& positions) {
    const Region region("rotary");
    const auto pairs = x.unflatten(-1, {-1, 2}).unbind(-1);
    const torch::Tensor& a = pairs[0];
    const torch::Tensor& b = pairs[1];
    return torch::cat(
        {positions.cosines * a - positions.sines * b, positions.sines * a + positions.cosines * b},
        -1);
}

/// Scaled products of queries and keys, without those of the future.
torch::Tensor attention_scores(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& future_mask) {
    const Region region("attention scores");
    const double scale = std::sqrt(static_cast<double>(q.size(-1)));
    return (torch::matmul(q, k.transpose(-2, -1)) / scale)
        .masked_fill(future_mask, -std::numeric_limits<double>::infinity());
}

torch::Tensor value_product(const torch::Tensor& weights, const torch::Tensor& v) {
    const Region region("value product");
    return torch::matmul(weights, v);
}

/// Causal multi-head self-attention.
class Attention : public torch::nn::Module {
  public:
    Attention(const ModelConfig& config, LinearWeights& weights) : num_heads_(config.num_heads) {
        const std::int64_t d = config.d_model;
        const auto inputs = weights.allocate({d, d, d}, d);
        q_ = register_weight(*this, "q_proj", draw_linear(inputs[0]));
        k_ = register_weight(*this, "k_proj", draw_linear(inputs[1]));
        v_ = register_weight(*this, "v_proj", draw_linear(inputs[2]));
        output_ =
            register_weight(*this, "output_proj", draw_linear(weights.allocate({d}, d).front()));
    }

    /// [batch, sequence, d_model] to the same shape.
    torch::Tensor forward(const torch::Tensor& x, const Positions& positions) const {
        const torch::Tensor q = rotate(heads_of(x, q_), positions);
        const torch::Tensor k = rotate(heads_of(x, k_), positions);
        const torch::Tensor v = heads_of(x, v_);
        const torch::Tensor scores = attention_scores(q, k, positions.future_mask);
        const torch::Tensor mixed = value_product(softmax(scores), v);
        const Region region("projections");
        return torch::linear(mixed.transpose(1, 2).flatten(2), output_);
    }

    /// The same by fused kernels; `block` holds the model's weights in the type of x, which is that
    /// of the products.
    torch::Tensor forward_fused(const torch::Tensor& x, const torch::Tensor& block,
                                const Positions& positions) const {
        const std::int64_t d = q_.size(0);
        const torch::Tensor mixed = fused::attend(fused::project_heads(
            x, {merged(block, q_, 3 * d), q_, k_, v_}, positions.rotation, num_heads_));
        const Region region("projections");
        return fused::linear(mixed, {merged(block, output_, d), output_});
    }

  private:
    /// [batch, sequence, d_model] to [batch, heads, sequence, head size].
    torch::Tensor heads_of(const torch::Tensor& x, const torch::Tensor& weight) const {
        const Region region("projections");
        return torch::linear(x, weight).unflatten(-1, {num_heads_, -1}).transpose(1, 2);
    }

    std::int64_t num_heads_;
    torch::Tensor q_, k_, v_, output_;
};

/// The feed-forward layer: w2(silu(w1 x) * w3 x).
class SwiGlu : public torch::nn::Module {
  public:
    SwiGlu(const ModelConfig& config, LinearWeights& weights) {
        const auto inputs = weights.allocate({config.d_ff, config.d_ff}, config.d_model);
        const auto output = weights.allocate({config.d_model}, config.d_ff).front();
        w1_ = register_weight(*this, "w1", draw_linear(inputs[0]));
        w2_ = register_weight(*this, "w2", draw_linear(output));
        w3_ = register_weight(*this, "w3", draw_linear(inputs[1]));
    }

    torch::Tensor forward(const torch::Tensor& x) const {
        const Region region("feed-forward");
        return torch::linear(torch::silu(torch::linear(x, w1_)) * torch::linear(x, w3_), w2_);
    }

    /// The same by fused kernels, as `Attention::forward_fused`.
    torch::Tensor forward_fused(const torch::Tensor& x, const torch::Tensor& block) const {
        return fused::swiglu(x, {merged(block, w1_, 2 * w1_.size(0)), w1_, w3_},
                             {merged(block, w2_, w2_.size(0)), w2_});
    }

  private:
    torch::Tensor w1_, w2_, w3_;
};

ModelConfig checked(const ModelConfig& config, std::int64_t context_length) {
    if (const std::string reason = invalid_reason(config); !reason.empty())
        throw std::invalid_argument(reason);
    if (context_length < 1) throw std::invalid_argument("context_length must be at least 1");
    return config;
}

/// The elements of all linear layers, as `LinearWeights` counts them.
std::int64_t linear_elements(const ModelConfig& config) {
    const auto padded = [](const MatrixSize& size) {
        return LinearWeights::padded(size.rows, size.columns);
    };
    std::int64_t of_block = 0;
    for (const MatrixSize& size : merged_sizes(config)) of_block += padded(size);
    return config.num_layers * of_block + padded({config.vocab_size, config.d_model});
}

}  // namespace

/// One pre-norm block: attention, then the feed-forward layer, each added to the residual stream.
class TransformerBlock : public torch::nn::Module {
  public:
    TransformerBlock(const ModelConfig& config, LinearWeights& weights, torch::Device device)
        : attention_(std::make_shared<Attention>(config, weights)),
          feed_forward_(std::make_shared<SwiGlu>(config, weights)) {
        register_module("attn", attention_);
        register_module("ffn", feed_forward_);
        norm1_ = register_weight(*this, "ln1", norm_weight(config.d_model, device));
        norm2_ = register_weight(*this, "ln2", norm_weight(config.d_model, device));
    }

    torch::Tensor forward(const torch::Tensor& x, const Positions& positions) const {
        const torch::Tensor y = x + attention_->forward(rms_norm(x, norm1_), positions);
        return y + feed_forward_->forward(rms_norm(y, norm2_));
    }

    /// The same by fused kernels, with the stream at hand; `block` holds the model's weights in the
    /// type of the products.
    void forward_fused(fused::Stream& stream, const torch::Tensor& block,
                       const Positions& positions) const {
        const c10::ScalarType type = block.scalar_type();
        stream.add(
            attention_->forward_fused(stream.norm(norm1_, norm_epsilon, type), block, positions));
        stream.add(feed_forward_->forward_fused(stream.norm(norm2_, norm_epsilon, type), block));
    }

  private:
    std::shared_ptr<Attention> attention_;
    std::shared_ptr<SwiGlu> feed_forward_;
    torch::Tensor norm1_, norm2_;
};

TransformerImpl::TransformerImpl(const ModelConfig& config, std::int64_t context_length,
                                 torch::Device device, const ModelOptions& options)
    : torch::nn::Module("Transformer"),
      config_(checked(config, context_length)),
      context_length_(context_length),
      options_(options) {
    const bool fused = options.kernels == Kernels::fused;
    const std::int64_t d = config.d_model;
    LinearWeights weights =
        fused ? LinearWeights(device, linear_elements(config)) : LinearWeights(device);
    const auto fp32 = torch::dtype(torch::kFloat).device(device);
    embedding_ =
        register_weight(*this, "token_embeddings",
                        draw_truncated_normal(torch::empty({config.vocab_size, d}, fp32), 1));
    const auto layers = std::make_shared<torch::nn::Module>("layers");
    register_module("layers", layers);
    for (std::int64_t i = 0; i < config.num_layers; ++i)
        blocks_.push_back(layers->register_module(
            std::to_string(i), std::make_shared<TransformerBlock>(config, weights, device)));
    norm_ = register_weight(*this, "ln_final", norm_weight(d, device));
    projection_ = register_weight(*this, "lm_head",
                                  draw_linear(weights.allocate({config.vocab_size}, d).front()));
    linear_weights_ = weights.block();

    // The same for all layers, so made once; fp32 whatever the precision, as the course's are. On
    // the CPU: a GPU would load six kernels for these few numbers, which takes about as long as the
    // rest.
    const std::int64_t head_size = d / config.num_heads;
    const torch::Tensor exponents =
        torch::arange(0, head_size, 2, torch::kFloat) / static_cast<double>(head_size);
    const torch::Tensor angles = torch::outer(torch::arange(context_length, torch::kFloat),
                                              torch::pow(rotary_theta, -exponents));
    if (fused) {
        rotation_ =
            register_buffer("rotary", torch::complex(angles.cos(), angles.sin()).to(device));
        return;
    }
    cosines_ = register_buffer("rotary_cosines", angles.cos().to(device));
    sines_ = register_buffer("rotary_sines", angles.sin().to(device));
    const torch::Tensor at = torch::arange(context_length, torch::device(device));
    future_mask_ = register_buffer("future_mask", at.unsqueeze(0) > at.unsqueeze(1));
}

torch::Tensor TransformerImpl::forward(const torch::Tensor& ids) {
    return forward_through(ids, blocks_.size());
}

torch::Tensor TransformerImpl::forward_through(const torch::Tensor& ids,
                                               std::size_t num_blocks) const {
    const std::int64_t sequence = ids.size(-1);
    TORCH_CHECK(sequence <= context_length_, "a sequence of ", sequence,
                " tokens is longer than the model's context of ", context_length_);
    TORCH_CHECK(num_blocks <= blocks_.size(), "the model has no more than ", blocks_.size(),
                " blocks");
    return options_.kernels == Kernels::fused ? forward_fused(ids, num_blocks)
                                              : forward_reference(ids, num_blocks);
}

torch::Tensor TransformerImpl::forward_reference(const torch::Tensor& ids,
                                                 std::size_t num_blocks) const {
    const std::int64_t sequence = ids.size(-1);
    const Positions positions{cosines_.narrow(0, 0, sequence),
                              sines_.narrow(0, 0, sequence),
                              future_mask_.narrow(0, 0, sequence).narrow(1, 0, sequence),
                              {}};
    torch::Tensor x = embed(ids, embedding_);
    for (std::size_t i = 0; i < num_blocks; ++i) {
        const Part part = [block = blocks_[i], i, positions](const torch::Tensor& in) {
            const Region region("layer", i);
            return block->forward(in, positions);
        };
        x = options_.activation_checkpointing ? checkpoint(part, x) : part(x);
    }
    const torch::Tensor normed = rms_norm(x, norm_);
    const Region region("output projection");
    return torch::linear(normed, projection_);
}

torch::Tensor TransformerImpl::forward_fused(const torch::Tensor& ids,
                                             std::size_t num_blocks) const {
    const c10::DeviceType device = ids.device().type();
    const c10::ScalarType type = at::autocast::is_autocast_enabled(device)
                                     ? at::autocast::get_autocast_dtype(device)
                                     : torch::kFloat;
    // The types are chosen here, operation by operation.
    const Autocast none(device, Precision::fp32);
    const torch::Tensor weights = operations::cast(linear_weights_, type);
    const Positions positions{{}, {}, {}, rotation_.narrow(0, 0, ids.size(-1))};
    fused::Stream stream(fused::embed(ids, embedding_));
    for (std::size_t i = 0; i < num_blocks; ++i) {
        const auto run = [block = blocks_[i], i, weights, positions](fused::Stream& of_block) {
            const Region region("layer", i);
            block->forward_fused(of_block, weights, positions);
        };
        if (!options_.activation_checkpointing) {
            run(stream);
            continue;
        }
        // Added up between blocks, so that one tensor is all that a block keeps.
        const Part part = [run](const torch::Tensor& in) {
            fused::Stream of_block(in);
            run(of_block);
            return of_block.sum();
        };
        stream = fused::Stream(checkpoint(part, stream.sum()));
    }
    const torch::Tensor normed = stream.norm(norm_, norm_epsilon, type);
    const Region region("output projection");
    return fused::linear(normed, {merged(weights, projection_, config_.vocab_size), projection_});
}

Transformer create_model(const ModelConfig& config, std::int64_t context_length,
                         torch::Device device, const ModelOptions& options) {
    return Transformer(config, context_length, device, options);
}

}  // namespace isosweep
