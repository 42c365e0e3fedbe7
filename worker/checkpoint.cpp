#include "checkpoint.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <utility>

#include "precision.h"

namespace isosweep {
namespace {

/// What the backward pass needs to run the part again.
struct Recipe : torch::CustomClassHolder {
    Recipe(Part what, Precision how) : part(std::move(what)), precision(how) {}
    Part part;
    Precision precision;
};

class Checkpoint : public torch::autograd::Function<Checkpoint> {
  public:
    // NOLINTNEXTLINE(readability-identifier-naming): the base class wants these names
    static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                                 const Part& part) {
        const bool bf16 = at::autocast::is_autocast_enabled(x.device().type());
        context->save_for_backward({x});
        context->saved_data["recipe"] = torch::IValue::make_capsule(
            c10::make_intrusive<Recipe>(part, bf16 ? Precision::bf16 : Precision::fp32));
        return part(x);  // Function::apply has switched gradients off
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        const auto recipe =
            c10::static_intrusive_pointer_cast<Recipe>(context->saved_data["recipe"].toCapsule());
        const torch::Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
        torch::Tensor y;
        {
            // The backward pass runs on a thread of its own, which knows nothing of autocast.
            const torch::AutoGradMode with_gradients(true);
            const Autocast autocast(x.device().type(), recipe->precision);
            y = recipe->part(x);
        }
        torch::autograd::backward({y}, {gradients[0]});
        return {x.grad(), torch::Tensor()};
    }
};

}  // namespace

torch::Tensor checkpoint(const Part& part, const torch::Tensor& x) {
    return torch::GradMode::is_enabled() ? Checkpoint::apply(x, part) : part(x);
}

}  // namespace isosweep
