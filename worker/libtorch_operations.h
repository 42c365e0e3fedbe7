#pragma once

#include "operations.h"

/// The operations by those of LibTorch, on any device. What each does stands in operations.h.
namespace isosweep::operations::libtorch {

Normed rms_norm(const torch::Tensor& x, const torch::Tensor& addend, const torch::Tensor& weight,
                double epsilon, c10::ScalarType type);
NormGradients rms_norm_backward(const torch::Tensor& of_normed, const torch::Tensor& of_sum_later,
                                const torch::Tensor& sum, const torch::Tensor& scale,
                                const torch::Tensor& weight, c10::ScalarType addend_type);
void rotate(const torch::Tensor& heads, const torch::Tensor& rotation);
torch::Tensor rotate_backward(const torch::Tensor& of_queries, const torch::Tensor& of_keys,
                              const torch::Tensor& of_values, const torch::Tensor& rotation);
torch::Tensor swiglu(const torch::Tensor& gate_up);
SwiGluGradients swiglu_backward(const torch::Tensor& of_product, const torch::Tensor& gate_up);
torch::Tensor cast(const torch::Tensor& block, c10::ScalarType type);
CrossEntropy cross_entropy(const torch::Tensor& logits, const torch::Tensor& targets);
torch::Tensor cross_entropy_backward(const torch::Tensor& of_loss, const torch::Tensor& logits,
                                     const torch::Tensor& targets, const torch::Tensor& log_sums);
torch::Tensor embedding_backward(const torch::Tensor& of_x, const torch::Tensor& ids,
                                 std::int64_t vocabulary);

}  // namespace isosweep::operations::libtorch
