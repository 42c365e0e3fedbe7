#include "operations.h"

#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "kernels/device_kernels.h"
#include "kernels/kernel_operations.h"
#include "libtorch_operations.h"

namespace isosweep::operations {
namespace {

using torch::Tensor;

/// Why our kernels are not wanted, or "".
std::string_view switched_off() {
    static const std::string_view reason = [] {
        const char* const value = std::getenv("ISOSWEEP_KERNELS");
        return value && std::string_view(value) == "libtorch" ? "ISOSWEEP_KERNELS=libtorch" : "";
    }();
    return reason;
}

/// What launches our kernels where `x` is; null where LibTorch serves.
kernels::Launcher* launcher_for(const Tensor& x) {
    return x.is_cuda() && switched_off().empty() ? &kernels::launcher(x.device()) : nullptr;
}

}  // namespace

Normed rms_norm(const Tensor& x, const Tensor& addend, const Tensor& weight, double epsilon,
                c10::ScalarType type) {
    if (kernels::Launcher* const launcher = launcher_for(x))
        if (auto result = kernels::rms_norm(*launcher, x, addend, weight, epsilon, type))
            return *std::move(result);
    return libtorch::rms_norm(x, addend, weight, epsilon, type);
}

NormGradients rms_norm_backward(const Tensor& of_normed, const Tensor& of_sum_later,
                                const Tensor& sum, const Tensor& scale, const Tensor& weight,
                                c10::ScalarType addend_type) {
    if (kernels::Launcher* const launcher = launcher_for(sum))
        if (auto result = kernels::rms_norm_backward(*launcher, of_normed, of_sum_later, sum, scale,
                                                     weight, addend_type))
            return *std::move(result);
    return libtorch::rms_norm_backward(of_normed, of_sum_later, sum, scale, weight, addend_type);
}

void rotate(const Tensor& heads, const Tensor& rotation) {
    kernels::Launcher* const launcher = launcher_for(heads);
    if (launcher && kernels::rotate(*launcher, heads, rotation)) return;
    libtorch::rotate(heads, rotation);
}

Tensor rotate_backward(const Tensor& of_queries, const Tensor& of_keys, const Tensor& of_values,
                       const Tensor& rotation) {
    if (kernels::Launcher* const launcher = launcher_for(of_queries))
        if (auto result =
                kernels::rotate_backward(*launcher, of_queries, of_keys, of_values, rotation))
            return *std::move(result);
    return libtorch::rotate_backward(of_queries, of_keys, of_values, rotation);
}

Tensor swiglu(const Tensor& gate_up) {
    if (kernels::Launcher* const launcher = launcher_for(gate_up))
        if (auto result = kernels::swiglu(*launcher, gate_up)) return *std::move(result);
    return libtorch::swiglu(gate_up);
}

SwiGluGradients swiglu_backward(const Tensor& of_product, const Tensor& gate_up) {
    if (kernels::Launcher* const launcher = launcher_for(gate_up))
        if (auto result = kernels::swiglu_backward(*launcher, of_product, gate_up))
            return *std::move(result);
    return libtorch::swiglu_backward(of_product, gate_up);
}

Tensor cast(const Tensor& block, c10::ScalarType type) {
    if (kernels::Launcher* const launcher = launcher_for(block))
        if (auto result = kernels::cast(*launcher, block, type)) return *std::move(result);
    return libtorch::cast(block, type);
}

CrossEntropy cross_entropy(const Tensor& logits, const Tensor& targets) {
    if (kernels::Launcher* const launcher = launcher_for(logits))
        if (auto result = kernels::cross_entropy(*launcher, logits, targets))
            return *std::move(result);
    return libtorch::cross_entropy(logits, targets);
}

Tensor cross_entropy_backward(const Tensor& of_loss, const Tensor& logits, const Tensor& targets,
                              const Tensor& log_sums) {
    if (kernels::Launcher* const launcher = launcher_for(logits))
        if (auto result =
                kernels::cross_entropy_backward(*launcher, of_loss, logits, targets, log_sums))
            return *std::move(result);
    return libtorch::cross_entropy_backward(of_loss, logits, targets, log_sums);
}

Tensor embedding_backward(const Tensor& of_x, const Tensor& ids, std::int64_t vocabulary) {
    if (kernels::Launcher* const launcher = launcher_for(of_x))
        if (auto result = kernels::embedding_backward(*launcher, of_x, ids, vocabulary))
            return *std::move(result);
    return libtorch::embedding_backward(of_x, ids, vocabulary);
}

Served served(torch::Device device) {
    if (!device.is_cuda()) return {.backend = "libtorch", .origin = {}, .note = {}};
    if (!switched_off().empty())
        return {.backend = "libtorch", .origin = {}, .note = std::string(switched_off())};
    kernels::Loaded loaded = kernels::loaded(device);
    return {.backend = loaded.failed ? "libtorch" : "cuda",
            .origin = loaded.failed ? "" : std::move(loaded.origin),
            .load_ms = loaded.ms,
            .note = std::move(loaded.note)};
}

}  // namespace isosweep::operations
