#include "fused.h"

#include <ATen/Context.h>
#include <ATen/SDPBackend.h>
#include <ATen/SequenceNumber.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "operations.h"
#include "region.h"

namespace isosweep::fused {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// Forward passes run below autograd: views share memory and nothing else, and what is made in
/// between leaves no trace.
using BelowAutograd = at::AutoDispatchBelowADInplaceOrView;

/// Applies F under a name that profilers see, with the number of the backward node that it makes:
/// by that number what the node runs is found to belong to the regions around this.
template <class F, class... Arguments>
auto apply_as(const char* name, const Arguments&... arguments) {
    RECORD_FUNCTION(name, c10::ArrayRef<const c10::IValue>(),
                    torch::GradMode::is_enabled()
                        ? static_cast<std::int64_t>(at::sequence_number::peek())
                        : -1);
    return F::apply(arguments...);
}

/// [..., columns] as [rows, columns], without gaps: the gradient of a sum is one number seen
/// everywhere, which no product takes.
Tensor as_matrix(const Tensor& x) { return x.reshape({-1, x.size(-1)}).contiguous(); }

/// [rows, columns] as [batch, sequence, columns] with the first two of `like`.
Tensor as_batch(const Tensor& matrix, const Tensor& like) {
    return matrix.view({like.size(0), like.size(1), matrix.size(1)});
}

/// With the last dimension's elements side by side, as not every backend of attention leaves its
/// gradients.
Tensor with_unit_stride(const Tensor& x) { return x.stride(-1) == 1 ? x : x.contiguous(); }

/// The gradient of a weight of y = x weightᵀ: fp32, whatever the type of the factors. On a GPU the
/// product's own accumulators are written, which neither rounds to 16 bits nor takes another
/// kernel.
Tensor weight_gradient(const Tensor& of_y, const Tensor& x) {
    if (x.scalar_type() == torch::kFloat) return at::mm(of_y.t(), x);
    return x.is_cuda() ? at::mm(of_y.t(), x, torch::kFloat) : at::mm(of_y.t(), x).to(torch::kFloat);
}

class Embed : public Function<Embed> {
  public:
    static Tensor forward(AutogradContext* context, const Tensor& weight, const Tensor& ids) {
        const BelowAutograd no_autograd;
        context->save_for_backward({ids});
        context->saved_data["vocabulary"] = weight.size(0);
        return at::embedding(weight, ids);
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Tensor ids = context->get_saved_variables()[0];
        return {operations::embedding_backward(as_matrix(gradients[0]), ids.flatten(),
                                               context->saved_data["vocabulary"].toInt()),
                {}};
    }
};

class Norm : public Function<Norm> {
  public:
    static variable_list forward(AutogradContext* context, const Tensor& residual,
                                 const std::optional<Tensor>& pending, const Tensor& weight,
                                 double epsilon, c10::ScalarType type) {
        const BelowAutograd no_autograd;
        const operations::Normed result = operations::rms_norm(
            as_matrix(residual), pending ? as_matrix(*pending) : Tensor(), weight, epsilon, type);
        context->save_for_backward({result.sum, result.scale, weight});
        context->saved_data["was_pending"] = pending.has_value();
        context->set_materialize_grads(false);
        return {result.sum.view_as(residual), result.normed.view_as(residual)};
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list saved = context->get_saved_variables();
        // The last norm's sum is used nowhere else.
        const Tensor of_sum_later = gradients[0].defined() ? as_matrix(gradients[0]) : gradients[0];
        const bool was_pending = context->saved_data["was_pending"].toBool();
        const operations::NormGradients result = operations::rms_norm_backward(
            as_matrix(gradients[1]), of_sum_later, saved[0], saved[1], saved[2],
            was_pending ? gradients[1].scalar_type() : torch::kFloat);
        return {result.of_sum.view_as(gradients[1]),
                was_pending ? result.of_addend.view_as(gradients[1]) : Tensor(),
                result.of_weight,
                {},
                {}};
    }
};

class ProjectHeads : public Function<ProjectHeads> {
  public:
    static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor& value,
                                 const Tensor& /*q*/, const Tensor& /*k*/, const Tensor& /*v*/,
                                 const Tensor& rotation, std::int64_t num_heads) {
        const BelowAutograd no_autograd;
        const Tensor input = as_matrix(x);
        const Tensor heads =
            at::mm(input, value.t()).view({x.size(0), x.size(1), 3, num_heads, -1});
        {
            const Region region("rotary");
            operations::rotate(heads, rotation);
        }
        context->save_for_backward({input, value, rotation});
        variable_list results;
        for (const Tensor& part : heads.unbind(2)) results.push_back(part.transpose(1, 2));
        return results;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list saved = context->get_saved_variables();
        const Tensor& value = saved[1];
        Tensor of_heads;
        {
            const Region region("rotary");
            of_heads = operations::rotate_backward(with_unit_stride(gradients[0]),
                                                   with_unit_stride(gradients[1]),
                                                   with_unit_stride(gradients[2]), saved[2]);
        }
        const Tensor projected = of_heads.view({-1, value.size(0)});
        // Parts without a copy, so that autograd takes them as the parameters' gradients as they
        // are.
        const variable_list of_weights = weight_gradient(projected, saved[0]).chunk(3);
        return {as_batch(at::mm(projected, value), of_heads),
                {},
                of_weights[0],
                of_weights[1],
                of_weights[2],
                {},
                {}};
    }
};

class Linear : public Function<Linear> {
  public:
    static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& value,
                          const Tensor& /*parameter*/) {
        const BelowAutograd no_autograd;
        const Tensor input = as_matrix(x);
        context->save_for_backward({input, value});
        return as_batch(at::mm(input, value.t()), x);
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list saved = context->get_saved_variables();
        const Tensor of_y = as_matrix(gradients[0]);
        return {
            as_batch(at::mm(of_y, saved[1]), gradients[0]), {}, weight_gradient(of_y, saved[0])};
    }
};

class SwiGlu : public Function<SwiGlu> {
  public:
    static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& gate_up_value,
                          const Tensor& down_value, const Tensor& /*w1*/, const Tensor& /*w3*/,
                          const Tensor& /*w2*/) {
        const BelowAutograd no_autograd;
        const Tensor input = as_matrix(x);
        const Tensor gate_up = at::mm(input, gate_up_value.t());
        context->save_for_backward({input, gate_up, gate_up_value, down_value});
        return as_batch(at::mm(operations::swiglu(gate_up), down_value.t()), x);
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list saved = context->get_saved_variables();
        const Tensor of_y = as_matrix(gradients[0]);
        // The product is made again rather than kept: a third of the memory for one more write.
        const operations::SwiGluGradients made =
            operations::swiglu_backward(at::mm(of_y, saved[3]), saved[1]);
        const variable_list of_weights = weight_gradient(made.of_gate_up, saved[0]).chunk(2);
        return {as_batch(at::mm(made.of_gate_up, saved[2]), gradients[0]),
                {},
                {},
                of_weights[0],
                of_weights[1],
                weight_gradient(of_y, made.product)};
    }
};

class Sum : public Function<Sum> {
  public:
    static Tensor forward(AutogradContext* context, const Tensor& logits) {
        const BelowAutograd no_autograd;
        context->saved_data["sizes"] = logits.sizes();
        context->saved_data["type"] = static_cast<std::int64_t>(logits.scalar_type());
        return logits.sum(torch::kFloat);
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const auto type = static_cast<c10::ScalarType>(context->saved_data["type"].toInt());
        return {at::empty(context->saved_data["sizes"].toIntVector(),
                          gradients[0].options().dtype(type))
                    .fill_(gradients[0])};
    }
};

class CrossEntropy : public Function<CrossEntropy> {
  public:
    static Tensor forward(AutogradContext* context, const Tensor& logits, const Tensor& targets) {
        const BelowAutograd no_autograd;
        const operations::CrossEntropy result = operations::cross_entropy(logits, targets);
        context->save_for_backward({logits, targets, result.log_sums});
        return result.loss;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list saved = context->get_saved_variables();
        return {operations::cross_entropy_backward(gradients[0], saved[0], saved[1], saved[2]), {}};
    }
};

struct NamedBackend {
    std::string_view name;
    at::SDPBackend backend;
};
constexpr NamedBackend backends[] = {{"flash", at::SDPBackend::flash_attention},
                                     {"cudnn", at::SDPBackend::cudnn_attention},
                                     {"efficient", at::SDPBackend::efficient_attention},
                                     {"math", at::SDPBackend::math}};

std::atomic<at::SDPBackend> last_backend = at::SDPBackend::error;

/// The backend that is tried first on a GPU. None: LibTorch's own order stands, which begins with
/// cuDNN on Hopper and Blackwell and with flash on others.
std::optional<at::SDPBackend> preferred_backend() {
    const char* const asked = std::getenv("ISOSWEEP_ATTENTION");
    if (asked == nullptr) return std::nullopt;
    for (const NamedBackend& named : backends)
        if (named.name == asked && named.backend != at::SDPBackend::math) return named.backend;
    throw std::invalid_argument("ISOSWEEP_ATTENTION=" + std::string(asked) +
                                ": expected flash, cudnn or efficient");
}

at::SDPBackend backend_for(const Heads& heads) {
    return static_cast<at::SDPBackend>(at::_fused_sdp_choice(
        heads.queries, heads.keys, heads.values, /*attn_mask=*/{}, /*dropout_p=*/0,
        /*is_causal=*/true));
}

/// Puts the preferred backend before the others, once: the order is the process'.
void order_backends(const Heads& heads) {
    static const bool ordered = [&] {
        const auto preferred = preferred_backend();
        if (!preferred) return true;
        // With its first choice LibTorch sets its own order, which must not undo ours.
        backend_for(heads);
        auto order = at::globalContext().sDPPriorityOrder();
        std::stable_partition(order.begin(), order.end(),
                              [&](at::SDPBackend backend) { return backend == *preferred; });
        std::vector<std::int64_t> numbers;
        for (const at::SDPBackend backend : order)
            numbers.push_back(static_cast<std::int64_t>(backend));
        at::globalContext().setSDPPriorityOrder(numbers);
        return true;
    }();
    static_cast<void>(ordered);
}

}  // namespace

void Stream::add(Tensor x) {
    assert(!pending_.defined());
    pending_ = std::move(x);
}

Tensor Stream::norm(const Tensor& weight, double epsilon, c10::ScalarType type) {
    const Region region("norm");
    const auto pending = pending_.defined() ? std::optional(pending_) : std::nullopt;
    variable_list results =
        apply_as<Norm>("isosweep::fused::norm", residual_, pending, weight, epsilon, type);
    residual_ = std::move(results[0]);
    pending_.reset();
    return std::move(results[1]);
}

Tensor Stream::sum() const { return pending_.defined() ? residual_ + pending_ : residual_; }

Tensor embed(const Tensor& ids, const Tensor& weight) {
    const Region region("embedding");
    return apply_as<Embed>("isosweep::fused::embed", weight, ids);
}

Heads project_heads(const Tensor& x, const Weight& weight, const Tensor& rotation,
                    std::int64_t num_heads) {
    const Region region("projections");
    const variable_list heads =
        apply_as<ProjectHeads>("isosweep::fused::project_heads", x, weight.value, weight.first,
                               weight.second, weight.third, rotation, num_heads);
    return {heads[0], heads[1], heads[2]};
}

Tensor attend(const Heads& heads) {
    const Region region("attention");
    if (heads.queries.is_cuda()) order_backends(heads);
    last_backend = backend_for(heads);
    return at::scaled_dot_product_attention(heads.queries, heads.keys, heads.values,
                                            /*attn_mask=*/{}, /*dropout_p=*/0, /*is_causal=*/true)
        .transpose(1, 2)
        .flatten(2);
}

std::string_view attention_backend() {
    for (const NamedBackend& named : backends)
        if (named.backend == last_backend) return named.name;
    return {};
}

Tensor linear(const Tensor& x, const Weight& weight) {
    return apply_as<Linear>("isosweep::fused::linear", x, weight.value, weight.first);
}

Tensor swiglu(const Tensor& x, const Weight& gate_up, const Weight& down) {
    const Region region("feed-forward");
    return apply_as<SwiGlu>("isosweep::fused::swiglu", x, gate_up.value, down.value, gate_up.first,
                            gate_up.second, down.first);
}

void load_product(std::int64_t rows, std::int64_t outputs, std::int64_t inputs,
                  const at::TensorOptions& numbers, bool backward) {
    const torch::NoGradGuard no_gradients;
    const Tensor x = at::zeros({rows, inputs}, numbers);
    const Tensor weight = at::zeros({outputs, inputs}, numbers);
    const Tensor y = at::mm(x, weight.t());
    if (!backward) return;
    at::mm(y, weight);
    weight_gradient(y, x);
}

void load_attention(at::IntArrayRef sizes, const at::TensorOptions& numbers, bool backward) {
    const torch::AutoGradMode gradients(backward);
    variable_list heads;
    for (const Tensor& part : at::zeros(sizes, numbers).unbind(2))
        heads.push_back(part.transpose(1, 2).detach().requires_grad_(backward));
    const Tensor mixed = attend({heads[0], heads[1], heads[2]});
    if (backward) torch::autograd::backward({mixed}, {at::zeros_like(mixed)});
}

Tensor sum(const Tensor& logits) { return apply_as<Sum>("isosweep::fused::sum", logits); }

Tensor cross_entropy(const Tensor& logits, const Tensor& targets) {
    return apply_as<CrossEntropy>("isosweep::fused::cross_entropy", logits, targets);
}

}  // namespace isosweep::fused
