#include "libtorch_operations.h"

#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/_fused_rms_norm_backward.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/nll_loss.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>

namespace isosweep::operations::libtorch {
namespace {

using torch::Tensor;

struct Halves {
    Tensor gate;
    Tensor up;
};

Halves halves(const Tensor& gate_up) {
    const std::int64_t width = gate_up.size(1) / 2;
    return {gate_up.narrow(1, 0, width), gate_up.narrow(1, width, width)};
}

}  // namespace

Normed rms_norm(const Tensor& x, const Tensor& addend, const Tensor& weight, double epsilon,
                c10::ScalarType type) {
    const Tensor sum = addend.defined() ? x + addend : x;
    const auto [normed, scale] = at::_fused_rms_norm(sum, {x.size(1)}, weight, epsilon);
    return {sum, normed.to(type), scale.view(-1)};
}

NormGradients rms_norm_backward(const Tensor& of_normed, const Tensor& of_sum_later,
                                const Tensor& sum, const Tensor& scale, const Tensor& weight,
                                c10::ScalarType addend_type) {
    const Tensor gradient = of_normed.to(torch::kFloat);
    const Tensor scales = scale.unsqueeze(1);
    Tensor of_sum;
    Tensor of_weight;
    if (sum.is_cuda()) {
        std::tie(of_sum, of_weight) = at::_fused_rms_norm_backward(gradient, sum, {sum.size(1)},
                                                                   scales, weight, {true, true});
    } else {
        const Tensor direction = sum * scales;
        const Tensor of_direction = gradient * weight;
        of_weight = (gradient * direction).sum(0);
        of_sum = (of_direction - direction * (of_direction * direction).mean(1, /*keepdim=*/true)) *
                 scales;
    }
    if (of_sum_later.defined()) of_sum.add_(of_sum_later);
    return {of_sum, of_sum.to(addend_type), of_weight};
}

void rotate(const Tensor& heads, const Tensor& rotation) {
    const Tensor queries_and_keys = heads.narrow(2, 0, 2);
    const Tensor angles = rotation.unsqueeze(1).unsqueeze(1);
    const auto pairs = [](const Tensor& x) {
        return at::view_as_complex(x.unflatten(-1, {x.size(-1) / 2, 2}));
    };
    if (heads.scalar_type() == torch::kFloat) {
        pairs(queries_and_keys).mul_(angles);
        return;
    }
    const Tensor turned = pairs(queries_and_keys.to(torch::kFloat)).mul_(angles);
    queries_and_keys.copy_(at::view_as_real(turned).flatten(-2));
}

Tensor rotate_backward(const Tensor& of_queries, const Tensor& of_keys, const Tensor& of_values,
                       const Tensor& rotation) {
    const Tensor of_heads = at::stack(
        {of_queries.transpose(1, 2), of_keys.transpose(1, 2), of_values.transpose(1, 2)}, 2);
    rotate(of_heads, rotation.conj());
    return of_heads;
}

Tensor swiglu(const Tensor& gate_up) {
    const auto [gate, up] = halves(gate_up);
    const Tensor product = at::silu(gate);
    return product.mul_(up);
}

SwiGluGradients swiglu_backward(const Tensor& of_product, const Tensor& gate_up) {
    const auto [gate, up] = halves(gate_up);
    const Tensor of_gate_up = at::empty_like(gate_up);
    auto [of_gate, of_up] = halves(of_gate_up);
    const Tensor activated = at::silu(gate);
    at::mul_out(of_up, of_product, activated);
    at::mul_out(of_gate, of_product, up);
    at::silu_backward_out(of_gate, of_gate, gate);
    return {of_gate_up, activated.mul_(up)};
}

Tensor cast(const Tensor& block, c10::ScalarType type) { return block.to(type); }

CrossEntropy cross_entropy(const Tensor& logits, const Tensor& targets) {
    const Tensor log_probabilities = at::log_softmax(logits, 1, torch::kFloat);
    // Before anything is gathered, since this one checks the targets.
    const Tensor loss = at::nll_loss(log_probabilities, targets);
    const Tensor columns = targets.unsqueeze(1);
    const Tensor log_sums =
        logits.gather(1, columns).to(torch::kFloat).sub_(log_probabilities.gather(1, columns));
    return {loss, log_sums.squeeze(1)};
}

Tensor cross_entropy_backward(const Tensor& of_loss, const Tensor& logits, const Tensor& targets,
                              const Tensor& log_sums) {
    Tensor of_logits = (logits - log_sums.unsqueeze(1)).exp_();
    const Tensor columns = targets.unsqueeze(1);
    of_logits.scatter_add_(1, columns, -at::ones_like(columns, torch::kFloat));
    of_logits.mul_(of_loss / logits.size(0));
    return of_logits.to(logits.scalar_type());
}

Tensor embedding_backward(const Tensor& of_x, const Tensor& ids, std::int64_t vocabulary) {
    return at::embedding_dense_backward(of_x, ids, vocabulary, /*padding_idx=*/-1,
                                        /*scale_grad_by_freq=*/false);
}

}  // namespace isosweep::operations::libtorch
