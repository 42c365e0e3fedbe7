#include "fused.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>
#include <torch/csrc/autograd/custom_function.h>

#include "region.h"

namespace isosweep::fused {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// [..., columns] as [rows, columns].
Tensor as_matrix(const Tensor& x) { return x.reshape({-1, x.size(-1)}); }

/// a b in fp32, whatever the type of a and b. On a GPU the product's own accumulators are written,
/// which neither rounds to 16 bits nor takes another kernel.
Tensor product_fp32(const Tensor& a, const Tensor& b) {
    if (a.scalar_type() == torch::kFloat) return at::mm(a, b);
    return a.is_cuda() ? at::mm(a, b, torch::kFloat) : at::mm(a, b).to(torch::kFloat);
}

/// residual + a b in fp32, in the shape of `residual`.
Tensor add_product(const Tensor& residual, const Tensor& a, const Tensor& b) {
    const Tensor flat = as_matrix(residual);
    Tensor sum;
    if (a.scalar_type() == torch::kFloat)
        sum = at::addmm(flat, a, b);
    else if (a.is_cuda())
        sum = at::addmm(flat, a, b, torch::kFloat);
    else
        sum = flat + at::mm(a, b);
    return sum.view_as(residual);
}

/// The gradient of a weight of y = x weightᵀ.
Tensor weight_gradient(const Tensor& y_gradient, const Tensor& x) {
    return product_fp32(y_gradient.t(), x);
}

/// Turns queries and keys in [batch, sequence, 3, heads, head size], in place.
void rotate(const Tensor& heads, const Tensor& rotation) {
    const Region region("rotary");
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

class ProjectHeads : public Function<ProjectHeads> {
  public:
    static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor& value,
                                 const Tensor& /*q*/, const Tensor& /*k*/, const Tensor& /*v*/,
                                 const Tensor& rotation, std::int64_t num_heads) {
        // The views made here share memory and nothing else: autograd sees three results.
        const at::AutoDispatchBelowADInplaceOrView no_autograd;
        const Tensor input = as_matrix(x).to(value.scalar_type());
        const Tensor heads =
            at::mm(input, value.t()).view({x.size(0), x.size(1), 3, num_heads, -1});
        rotate(heads, rotation);
        context->save_for_backward({input, value, rotation});
        variable_list results;
        for (const Tensor& part : heads.unbind(2)) results.push_back(part.transpose(1, 2));
        return results;
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list saved = context->get_saved_variables();
        const Tensor& input = saved[0];
        const Tensor& value = saved[1];
        const Tensor heads = at::stack({gradients[0].transpose(1, 2), gradients[1].transpose(1, 2),
                                        gradients[2].transpose(1, 2)},
                                       2);
        rotate(heads, saved[2].conj());
        const Tensor projected = heads.view({-1, value.size(0)});
        // Parts without a copy, so that autograd takes them as the parameters' gradients as they
        // are.
        const variable_list of_weights = weight_gradient(projected, input).chunk(3);
        return {product_fp32(projected, value).view({heads.size(0), heads.size(1), -1}),
                {},
                of_weights[0],
                of_weights[1],
                of_weights[2],
                {},
                {}};
    }
};

class AddLinear : public Function<AddLinear> {
  public:
    static Tensor forward(AutogradContext* context, const Tensor& residual, const Tensor& x,
                          const Tensor& value, const Tensor& /*parameter*/) {
        const at::AutoDispatchBelowADInplaceOrView no_autograd;
        const Tensor input = as_matrix(x);
        context->save_for_backward({input, value});
        return add_product(residual, input, value.t());
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list saved = context->get_saved_variables();
        const Tensor& value = saved[1];
        const Tensor gradient = as_matrix(gradients[0]).to(value.scalar_type());
        Tensor of_x = at::mm(gradient, value)
                          .view({gradients[0].size(0), gradients[0].size(1), value.size(1)});
        return {gradients[0], of_x, {}, weight_gradient(gradient, saved[0])};
    }
};

class AddSwiGlu : public Function<AddSwiGlu> {
  public:
    static Tensor forward(AutogradContext* context, const Tensor& residual, const Tensor& x,
                          const Tensor& gate_up_value, const Tensor& down_value,
                          const Tensor& /*w1*/, const Tensor& /*w3*/, const Tensor& /*w2*/) {
        const Region region("feed-forward");
        const at::AutoDispatchBelowADInplaceOrView no_autograd;
        const Tensor input = as_matrix(x).to(gate_up_value.scalar_type());
        const Tensor gate_up = at::mm(input, gate_up_value.t());
        const std::int64_t width = down_value.size(1);
        const Tensor product = at::silu(gate_up.narrow(1, 0, width));
        product.mul_(gate_up.narrow(1, width, width));
        context->save_for_backward({input, gate_up, gate_up_value, down_value});
        return add_product(residual, product, down_value.t());
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const Region region("feed-forward");
        const variable_list saved = context->get_saved_variables();
        const Tensor& gate_up = saved[1];
        const Tensor& down_value = saved[3];
        const std::int64_t width = down_value.size(1);
        const Tensor gate = gate_up.narrow(1, 0, width);
        const Tensor up = gate_up.narrow(1, width, width);

        const Tensor gradient = as_matrix(gradients[0]).to(down_value.scalar_type());
        const Tensor activated = at::silu(gate);
        // The product is made again rather than kept: two reads for a third of the memory.
        Tensor of_down = weight_gradient(gradient, activated * up);
        const Tensor of_product = at::mm(gradient, down_value);
        const Tensor of_gate_up = at::empty_like(gate_up);
        Tensor of_gate = of_gate_up.narrow(1, 0, width);
        Tensor of_up = of_gate_up.narrow(1, width, width);
        at::mul_out(of_up, of_product, activated);
        of_product.mul_(up);
        at::silu_backward_out(of_gate, of_product, gate);

        const variable_list of_weights = weight_gradient(of_gate_up, saved[0]).chunk(2);
        return {gradients[0],
                product_fp32(of_gate_up, saved[2]).view_as(gradients[0]),
                {},
                {},
                of_weights[0],
                of_weights[1],
                of_down};
    }
};

class Linear : public Function<Linear> {
  public:
    static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& value,
                          const Tensor& /*parameter*/) {
        const at::AutoDispatchBelowADInplaceOrView no_autograd;
        const Tensor input = as_matrix(x).to(value.scalar_type());
        context->save_for_backward({input, value});
        return at::mm(input, value.t()).view({x.size(0), x.size(1), value.size(0)});
    }

    static variable_list backward(AutogradContext* context, const variable_list& gradients) {
        const variable_list saved = context->get_saved_variables();
        // That of a sum is one number seen everywhere, which no product takes.
        const Tensor gradient = as_matrix(gradients[0]).contiguous();
        return {product_fp32(gradient, saved[1])
                    .view({gradients[0].size(0), gradients[0].size(1), saved[1].size(1)}),
                {},
                weight_gradient(gradient, saved[0])};
    }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
    const Region region("norm");
    return at::rms_norm(x, {x.size(-1)}, weight, epsilon);
}

Heads project_heads(const Tensor& x, const Weight& weight, const Tensor& rotation,
                    std::int64_t num_heads) {
    const Region region("projections");
    const variable_list heads = ProjectHeads::apply(x, weight.value, weight.first, weight.second,
                                                    weight.third, rotation, num_heads);
    return {heads[0], heads[1], heads[2]};
}

Tensor attend(const Heads& heads) {
    const Region region("attention");
    return at::scaled_dot_product_attention(heads.queries, heads.keys, heads.values,
                                            /*attn_mask=*/{}, /*dropout_p=*/0, /*is_causal=*/true)
        .transpose(1, 2)
        .flatten(2);
}

Tensor add_linear(const Tensor& residual, const Tensor& x, const Weight& weight) {
    return AddLinear::apply(residual, x, weight.value, weight.first);
}

Tensor add_swiglu(const Tensor& residual, const Tensor& x, const Weight& gate_up,
                  const Weight& down) {
    return AddSwiGlu::apply(residual, x, gate_up.value, down.value, gate_up.first, gate_up.second,
                            down.first);
}

Tensor linear(const Tensor& x, const Weight& weight) {
    const Region region("output projection");
    return Linear::apply(x, weight.value, weight.first);
}

}  // namespace isosweep::fused
