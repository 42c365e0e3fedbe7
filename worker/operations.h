#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

/// What `kernels = fused` does between its matrix products: tensors in, tensors out, no autograd.
/// On a GPU each is one kernel of ours (worker/kernels), or two where sums of many blocks are put
/// together; on a CPU, and where our kernels cannot be loaded, operations of LibTorch do the same.
///
/// Nothing waits for the GPU or reads back from it, and the same input gives the same bits. All
/// tensors of a call are on one device; they are contiguous unless said otherwise.
namespace isosweep::operations {

struct Normed {
    torch::Tensor sum;     ///< fp32 [rows, d]; x itself where nothing is added
    torch::Tensor normed;  ///< [rows, d]
    torch::Tensor scale;   ///< fp32 [rows]
};

/// Root-mean-square norm (Zhang and Sennrich 2019) of a sum: sum = x + addend,
/// scale = 1 / sqrt(mean(sum²) + epsilon), normed = sum scale weight in `type`.
/// x: fp32 [rows, d]. addend: undefined, or fp32 or bf16 [rows, d]. weight: fp32 [d].
Normed rms_norm(const torch::Tensor& x, const torch::Tensor& addend, const torch::Tensor& weight,
                double epsilon, c10::ScalarType type);

struct NormGradients {
    torch::Tensor of_sum;     ///< fp32 [rows, d]
    torch::Tensor of_addend;  ///< the same in `addend_type`; the same tensor where that is fp32
    torch::Tensor of_weight;  ///< fp32 [d]
};

/// The gradients of `rms_norm`, from that of `normed` and from `of_sum_later`, what came to `sum`
/// from where else it is used: fp32 [rows, d], undefined for nothing.
NormGradients rms_norm_backward(const torch::Tensor& of_normed, const torch::Tensor& of_sum_later,
                                const torch::Tensor& sum, const torch::Tensor& scale,
                                const torch::Tensor& weight, c10::ScalarType addend_type);

/// Rotary embedding (Su et al. 2021) of neighbour pairs, in place: of
/// heads [batch, sequence, 3, heads, head size], fp32 or bf16, the first two of the three are
/// turned. rotation: cos + i sin of each position's angles, complex64 [sequence, head size / 2].
void rotate(const torch::Tensor& heads, const torch::Tensor& rotation);

/// The gradient of what `rotate` was given, [batch, sequence, 3, heads, head size], from those of
/// queries, keys and values: each [batch, heads, sequence, head size] with any strides but 1 in the
/// last dimension.
torch::Tensor rotate_backward(const torch::Tensor& of_queries, const torch::Tensor& of_keys,
                              const torch::Tensor& of_values, const torch::Tensor& rotation);

/// silu(gate) * up (Shazeer 2020), [rows, f]; gate_up: fp32 or bf16 [rows, 2 f], a row's gate
/// before its up.
torch::Tensor swiglu(const torch::Tensor& gate_up);

struct SwiGluGradients {
    torch::Tensor of_gate_up;  ///< [rows, 2 f]
    torch::Tensor product;     ///< [rows, f], what `swiglu` gave, made again
};

SwiGluGradients swiglu_backward(const torch::Tensor& of_product, const torch::Tensor& gate_up);

/// A block of fp32 in `type`; the block itself where that is fp32.
torch::Tensor cast(const torch::Tensor& block, c10::ScalarType type);

struct CrossEntropy {
    torch::Tensor loss;      ///< fp32 []
    torch::Tensor log_sums;  ///< fp32 [rows], log(sum(exp(logits))) of each
};

/// Mean over rows of log_sum - logit of the target. logits: fp32 or bf16 [rows, vocabulary].
/// targets: int64 [rows]; one outside of the vocabulary is an error of the device.
CrossEntropy cross_entropy(const torch::Tensor& logits, const torch::Tensor& targets);

/// The gradient of `logits`, in their type; of_loss: fp32 [].
torch::Tensor cross_entropy_backward(const torch::Tensor& of_loss, const torch::Tensor& logits,
                                     const torch::Tensor& targets, const torch::Tensor& log_sums);

/// The gradient of the weight [vocabulary, d] of which x's rows are those that `ids` name; fp32.
/// of_x: fp32 [rows, d]. ids: int64 [rows].
torch::Tensor embedding_backward(const torch::Tensor& of_x, const torch::Tensor& ids,
                                 std::int64_t vocabulary);

/// What served these operations on a device so far.
struct Served {
    std::string backend;  ///< "cuda": our kernels; "libtorch"
    std::string origin;  ///< of our kernels: "cache" (of the disk) or "nvrtc" (compiled now); or ""
    double load_ms = 0;  ///< until they could be launched, compiling included
    std::string note;    ///< why LibTorch served, or what else went wrong; one line, or ""
};

/// Asked after a step: kernels are loaded by the first operation that wants them.
Served served(torch::Device device);

}  // namespace isosweep::operations
