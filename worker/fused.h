#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string_view>
#include <utility>

/// The parts of a model with `kernels = fused`: merged matrix products and the operations between
/// them (operations.h), under autograd functions that keep only what the backward pass cannot do
/// without. The residual stream and the gradients of weights are fp32; products, what lies between
/// them and its gradients have the type of the weights that they are given (fp32, or bf16 cast from
/// the fp32 parameters). Autocast is off while they run.
namespace isosweep::fused {

/// A weight as an operation uses it: `value` is what is multiplied (cast and merged), the
/// parameters are the fp32 leaves that get its gradient, one behind the other.
struct Weight {
    torch::Tensor value;
    torch::Tensor first;
    torch::Tensor second = {};  ///< undefined where fewer are merged
    torch::Tensor third = {};   ///< likewise
};

/// The residual stream, [batch, sequence, d_model] in fp32. What is added to it waits for the next
/// norm, which reads it anyway: a sum is written once, together with its norm.
class Stream {
  public:
    explicit Stream(torch::Tensor x) : residual_(std::move(x)) {}

    /// Adds x, in the type of the products. Once between two norms.
    void add(torch::Tensor x);

    /// The stream's root-mean-square norm over the last dimension, in `type`; weight: fp32
    /// [d_model].
    torch::Tensor norm(const torch::Tensor& weight, double epsilon, c10::ScalarType type);

    /// The stream as a tensor.
    torch::Tensor sum() const;

  private:
    torch::Tensor residual_;
    torch::Tensor pending_;  ///< what was added and no norm has seen, if any
};

/// Queries, keys and values, each [batch, heads, sequence, head size].
struct Heads {
    torch::Tensor queries;
    torch::Tensor keys;
    torch::Tensor values;
};

/// The rows of weight [vocabulary, d_model] (fp32) that ids [batch, sequence] name.
torch::Tensor embed(const torch::Tensor& ids, const torch::Tensor& weight);

/// Queries, keys and values of x [batch, sequence, d_model], the first two rotated: `rotation`
/// holds cos + i sin of each position's angles, [sequence, head size / 2]. `weight` merges the
/// three projections. Rotated pairs stay neighbours, where the reference gathers halves: products
/// of queries and keys are the same.
Heads project_heads(const torch::Tensor& x, const Weight& weight, const torch::Tensor& rotation,
                    std::int64_t num_heads);

/// Causal attention of heads, [batch, sequence, d_model], in the heads' type. On a GPU by the first
/// backend of LibTorch's scaled_dot_product_attention that takes such heads; the environment
/// variable ISOSWEEP_ATTENTION (flash, cudnn or efficient) names one to try before all others.
/// \throws std::invalid_argument where it names something else
torch::Tensor attend(const Heads& heads);

/// What computed the last `attend` of this process: flash, cudnn, efficient or math (operation by
/// operation). Empty before the first.
std::string_view attention_backend();

/// x weightᵀ.
torch::Tensor linear(const torch::Tensor& x, const Weight& weight);

/// w2 (silu(w1 x) * w3 x); `gate_up` merges w1 and w3.
torch::Tensor swiglu(const torch::Tensor& x, const Weight& gate_up, const Weight& down);

/// Runs the product of x [rows, inputs] and a weight [outputs, inputs] of `numbers`' type and
/// device as `linear` does, with `backward` also those for both gradients, and drops what comes of
/// it, so that what a process loads for such a product is there.
void load_product(std::int64_t rows, std::int64_t outputs, std::int64_t inputs,
                  const at::TensorOptions& numbers, bool backward);

/// The same for `attend` on the heads that `project_heads` makes:
/// [batch, sequence, 3, heads, head size].
void load_attention(at::IntArrayRef sizes, const at::TensorOptions& numbers, bool backward);

/// The sum of all logits: fp32, and added up in it.
torch::Tensor sum(const torch::Tensor& logits);

/// The mean cross entropy of logits [rows, vocabulary] against targets [rows] (int64): fp32.
torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& targets);

}  // namespace isosweep::fused
