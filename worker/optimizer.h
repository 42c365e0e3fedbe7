#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace isosweep {

/// AdamW with decoupled weight decay, all parameters in one fused call per device. LibTorch's C++
/// optimizer of that name runs one small operation after another instead.
class AdamW {
  public:
    struct Options {
        double learning_rate = 1e-3;
        double beta1 = 0.9;
        double beta2 = 0.999;
        double epsilon = 1e-8;
        double weight_decay = 0.01;
    };

    explicit AdamW(std::vector<at::Tensor> parameters) : AdamW(std::move(parameters), Options()) {}
    AdamW(std::vector<at::Tensor> parameters, const Options& options);

    /// One update from the parameters' gradients; every parameter has one. The first step makes
    /// the moments, as PyTorch's does.
    void step();

    /// Makes the moments where there are none yet.
    void make_state();

    /// Runs the update once with no effect, on those parameters that have a gradient: loads what a
    /// first step loads, before a graph captures one.
    void rehearse() const;

    /// The moments and step counts; empty before the first step.
    std::vector<at::Tensor> state() const;

  private:
    Options options_;
    std::vector<at::Tensor> parameters_;
    std::vector<at::Tensor> gradients_;  ///< room for `step`, empty between steps
    std::vector<at::Tensor> first_moments_;
    std::vector<at::Tensor> second_moments_;
    std::vector<at::Tensor> steps_;  ///< fp32 scalars on the parameters' device
};

}  // namespace isosweep
