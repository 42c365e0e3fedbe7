#include "operations.h"

#include "libtorch_operations.h"

namespace isosweep::operations {

using torch::Tensor;

Normed rms_norm(const Tensor& x, const Tensor& addend, const Tensor& weight, double epsilon,
                c10::ScalarType type) {
    return libtorch::rms_norm(x, addend, weight, epsilon, type);
}

NormGradients rms_norm_backward(const Tensor& of_normed, const Tensor& of_sum_later,
                                const Tensor& sum, const Tensor& scale, const Tensor& weight,
                                c10::ScalarType addend_type) {
    return libtorch::rms_norm_backward(of_normed, of_sum_later, sum, scale, weight, addend_type);
}

void rotate(const Tensor& heads, const Tensor& rotation) { libtorch::rotate(heads, rotation); }

Tensor rotate_backward(const Tensor& of_queries, const Tensor& of_keys, const Tensor& of_values,
                       const Tensor& rotation) {
    return libtorch::rotate_backward(of_queries, of_keys, of_values, rotation);
}

Tensor swiglu(const Tensor& gate_up) { return libtorch::swiglu(gate_up); }

SwiGluGradients swiglu_backward(const Tensor& of_product, const Tensor& gate_up) {
    return libtorch::swiglu_backward(of_product, gate_up);
}

Tensor cast(const Tensor& block, c10::ScalarType type) { return libtorch::cast(block, type); }

CrossEntropy cross_entropy(const Tensor& logits, const Tensor& targets) {
    return libtorch::cross_entropy(logits, targets);
}

Tensor cross_entropy_backward(const Tensor& of_loss, const Tensor& logits, const Tensor& targets,
                              const Tensor& log_sums) {
    return libtorch::cross_entropy_backward(of_loss, logits, targets, log_sums);
}

Tensor embedding_backward(const Tensor& of_x, const Tensor& ids, std::int64_t vocabulary) {
    return libtorch::embedding_backward(of_x, ids, vocabulary);
}

const Served& served(torch::Device device) {
    static const Served on_cpu{.backend = "libtorch", .origin = {}, .note = "there is no GPU"};
    static const Served on_gpu{.backend = "libtorch", .origin = {}, .note = "no kernels yet"};
    return device.is_cuda() ? on_gpu : on_cpu;
}

}  // namespace isosweep::operations
