#pragma once

#include <torch/types.h>

#include <cstdint>

/// The operations of `kernels = fused`: those of LibTorch that do more in one kernel, under
/// autograd functions that keep only what the backward pass cannot do without. The residual stream
/// and all gradients of weights are fp32, products have the type of the weights that they are given
/// (fp32, or bf16 cast from the fp32 parameters). Autocast is off while they run.
namespace isosweep::fused {

/// A weight as an operation uses it: `value` is what is multiplied (cast and merged), the
/// parameters are the fp32 leaves that get its gradient, one behind the other.
struct Weight {
    torch::Tensor value;
    torch::Tensor first;
    torch::Tensor second = {};  ///< undefined where fewer are merged
    torch::Tensor third = {};   ///< likewise
};

/// Queries, keys and values, each [batch, heads, sequence, head size].
struct Heads {
    torch::Tensor queries;
    torch::Tensor keys;
    torch::Tensor values;
};

/// Root-mean-square norm over the last dimension, in and out fp32.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon);

/// Queries, keys and values of x [batch, sequence, d_model] (fp32), the first two rotated:
/// `rotation` holds cos + i sin of each position's angles, [sequence, head size / 2]. `weight`
/// merges the three projections. Rotated pairs stay neighbours, where the reference gathers halves:
/// products of queries and keys are the same.
Heads project_heads(const torch::Tensor& x, const Weight& weight, const torch::Tensor& rotation,
                    std::int64_t num_heads);

/// Causal attention of heads, [batch, sequence, d_model], in the heads' type.
torch::Tensor attend(const Heads& heads);

/// residual + x weightᵀ in fp32; x in the weight's type.
torch::Tensor add_linear(const torch::Tensor& residual, const torch::Tensor& x,
                         const Weight& weight);

/// residual + w2 (silu(w1 x) * w3 x); x fp32, `gate_up` merges w1 and w3.
torch::Tensor add_swiglu(const torch::Tensor& residual, const torch::Tensor& x,
                         const Weight& gate_up, const Weight& down);

/// x weightᵀ in the weight's type; x fp32.
torch::Tensor linear(const torch::Tensor& x, const Weight& weight);

}  // namespace isosweep::fused
