#include "optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace isosweep {

AdamW::AdamW(std::vector<at::Tensor> parameters, const Options& options)
    : options_(options), parameters_(std::move(parameters)) {
    gradients_.reserve(parameters_.size());
}

void AdamW::step() {
    const at::NoGradGuard no_grad;
    make_state();
    for (const at::Tensor& parameter : parameters_) gradients_.push_back(parameter.grad());
    at::_foreach_add_(steps_, 1);
    at::_fused_adamw_(parameters_, gradients_, first_moments_, second_moments_,
                      /*max_exp_avg_sqs=*/{}, steps_, options_.learning_rate, options_.beta1,
                      options_.beta2, options_.weight_decay, options_.epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
    gradients_.clear();
}

void AdamW::make_state() {
    if (!steps_.empty()) return;
    const at::NoGradGuard no_grad;
    for (const at::Tensor& parameter : parameters_) {
        first_moments_.push_back(at::zeros_like(parameter));
        second_moments_.push_back(at::zeros_like(parameter));
        steps_.push_back(at::zeros({}, parameter.options()));
    }
}

void AdamW::rehearse() const {
    std::vector<at::Tensor> some;
    std::copy_if(parameters_.begin(), parameters_.end(), std::back_inserter(some),
                 [](const at::Tensor& parameter) { return parameter.grad().defined(); });
    Options no_move = options_;
    no_move.learning_rate = 0;
    AdamW(std::move(some), no_move).step();  // with moments of its own, which go with it
}

std::vector<at::Tensor> AdamW::state() const {
    std::vector<at::Tensor> all;
    for (const auto* tensors : {&first_moments_, &second_moments_, &steps_})
        all.insert(all.end(), tensors->begin(), tensors->end());
    return all;
}

}  // namespace isosweep
