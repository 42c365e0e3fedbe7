#pragma once

#include <optional>

#include "launcher.h"
#include "operations.h"

/// The operations by our kernels: shapes and types are checked, results allocated, kernels
/// launched. What each does stands in operations.h. Nothing (for `rotate`: false) where the kernels
/// do not take the tensors, or the launcher has no kernels: then nothing was done.
namespace isosweep::kernels {

std::optional<operations::Normed> rms_norm(Launcher& launcher, const torch::Tensor& x,
                                           const torch::Tensor& addend, const torch::Tensor& weight,
                                           double epsilon, c10::ScalarType type);
std::optional<operations::NormGradients> rms_norm_backward(
    Launcher& launcher, const torch::Tensor& of_normed, const torch::Tensor& of_sum_later,
    const torch::Tensor& sum, const torch::Tensor& scale, const torch::Tensor& weight,
    c10::ScalarType addend_type);
bool rotate(Launcher& launcher, const torch::Tensor& heads, const torch::Tensor& rotation);
std::optional<torch::Tensor> rotate_backward(Launcher& launcher, const torch::Tensor& of_queries,
                                             const torch::Tensor& of_keys,
                                             const torch::Tensor& of_values,
                                             const torch::Tensor& rotation);
std::optional<torch::Tensor> swiglu(Launcher& launcher, const torch::Tensor& gate_up);
std::optional<operations::SwiGluGradients> swiglu_backward(Launcher& launcher,
                                                           const torch::Tensor& of_product,
                                                           const torch::Tensor& gate_up);
std::optional<torch::Tensor> cast(Launcher& launcher, const torch::Tensor& block,
                                  c10::ScalarType type);
std::optional<operations::CrossEntropy> cross_entropy(Launcher& launcher,
                                                      const torch::Tensor& logits,
                                                      const torch::Tensor& targets);
std::optional<torch::Tensor> cross_entropy_backward(Launcher& launcher,
                                                    const torch::Tensor& of_loss,
                                                    const torch::Tensor& logits,
                                                    const torch::Tensor& targets,
                                                    const torch::Tensor& log_sums);
std::optional<torch::Tensor> embedding_backward(Launcher& launcher, const torch::Tensor& of_x,
                                                const torch::Tensor& ids, std::int64_t vocabulary);

}  // namespace isosweep::kernels
