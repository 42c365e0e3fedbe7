#include "step.h"

#include <ATen/ops/cross_entropy_loss.h>

#include <array>
#include <cassert>
#include <utility>

#include "fused.h"
#include "precision.h"
#include "region.h"

namespace isosweep {
namespace {

constexpr std::array<std::string_view, 3> part_names = {"forward", "backward", "optimizer"};

}  // namespace

Step::Step(Transformer model, torch::Tensor ids, torch::Tensor targets, PassType pass_type,
           Precision precision)
    : model_(std::move(model)),
      parameters_(model_->parameters()),
      ids_(std::move(ids)),
      targets_(std::move(targets)),
      pass_type_(pass_type),
      precision_(precision),
      optimizer_(parameters_) {}

Step::~Step() { prepare(); }

std::span<const std::string_view> Step::parts() const {
    switch (pass_type_) {
        case PassType::forward:
            return std::span(part_names).first(1);
        case PassType::forward_backward:
            return std::span(part_names).first(2);
        case PassType::train_step:
            return part_names;
    }
    return {};
}

void Step::prepare() {
    for (torch::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
    logits_.reset();
    loss_.reset();
}

void Step::run(std::size_t part) {
    assert(part < parts().size());
    const Region region(parts()[part]);
    if (part == 0)
        forward(static_cast<std::size_t>(model_->config().num_layers));
    else if (part == 1)
        loss_.backward();
    else
        optimizer_.step();
}

void Step::rehearse() {
    // Before all that comes and goes: moments in the room of activations that are gone would keep
    // the rest of it from being given back.
    if (pass_type_ == PassType::train_step) optimizer_.make_state();
    forward(1);
    if (pass_type_ != PassType::forward) loss_.backward();
    if (pass_type_ == PassType::train_step) optimizer_.rehearse();
    prepare();
}

std::vector<torch::Tensor> Step::parameters() const {
    std::vector<torch::Tensor> all = parameters_;
    for (const torch::Tensor& buffer : model_->buffers()) all.push_back(buffer);
    return all;
}

std::vector<torch::Tensor> Step::inputs() const {
    return targets_.defined() ? std::vector{ids_, targets_} : std::vector{ids_};
}

std::vector<torch::Tensor> Step::optimizer_state() const { return optimizer_.state(); }

std::vector<torch::Tensor> Step::gradients() const {
    std::vector<torch::Tensor> all;
    for (const torch::Tensor& parameter : parameters_)
        if (parameter.grad().defined()) all.push_back(parameter.grad());
    return all;
}

std::vector<torch::Tensor> Step::outputs() const {
    std::vector<torch::Tensor> all;
    for (const torch::Tensor& output : {logits_, loss_})
        if (output.defined()) all.push_back(output);
    return all;
}

void Step::forward(std::size_t num_blocks) {
    const torch::AutoGradMode gradients(pass_type_ != PassType::forward);
    // As in PyTorch's own examples the forward pass and the loss run under autocast, the backward
    // pass outside of it.
    const Autocast autocast(ids_.device().type(), precision_);
    torch::Tensor logits = model_->forward_through(ids_, num_blocks);
    const bool is_fused = model_->options().kernels == Kernels::fused;
    const Region region("loss");
    switch (pass_type_) {
        case PassType::forward:
            logits_ = std::move(logits);
            return;
        case PassType::forward_backward:
            loss_ = is_fused ? fused::sum(logits) : logits.sum();
            return;
        case PassType::train_step:
            const torch::Tensor rows = logits.flatten(0, 1);
            const torch::Tensor targets = targets_.flatten();
            loss_ = is_fused ? fused::cross_entropy(rows, targets)
                             : at::cross_entropy_loss(rows, targets);
            return;
    }
}

double Step::loss() const {
    const torch::NoGradGuard no_grad;
    // Not summed as doubles: that would first copy all logits, and a cell that fits would not.
    return loss_.defined() ? loss_.item<double>() : logits_.sum().item<double>();
}

}  // namespace isosweep
