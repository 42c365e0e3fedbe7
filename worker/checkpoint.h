#pragma once

#include <torch/types.h>

#include <functional>

namespace isosweep {

/// A part of a model: [batch, sequence, d_model] to the same shape.
using Part = std::function<torch::Tensor(const torch::Tensor&)>;

/// `part(x)` without keeping what its backward pass needs: that pass runs the part once more first
/// (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). Gradients of the parameters
/// that the part uses are those without it, bit for bit where the part repeats bit for bit; it must
/// draw no random numbers. Without gradients it is `part(x)`.
torch::Tensor checkpoint(const Part& part, const torch::Tensor& x);

}  // namespace isosweep
