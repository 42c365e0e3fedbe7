#pragma once

#include <isosweep/cell.h>
#include <isosweep/transformer.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "optimizer.h"

namespace isosweep {

/// One pass of a model over one batch, in parts that can be timed apart: forward, then backward,
/// then optimizer, as far as the pass type has them. No timing and no synchronising in here.
class Step {
  public:
    /// `ids` and `targets` are [batch, sequence] (int64); only train_step uses `targets`.
    Step(Transformer model, torch::Tensor ids, torch::Tensor targets, PassType pass_type,
         Precision precision);
    ~Step();  // leaves the model without gradients
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

    /// The parts' names, in order.
    std::span<const std::string_view> parts() const;

    /// Drops what the step before left: its gradients (set to none) and its output.
    void prepare();

    /// Runs one part by its place in `parts()`.
    void run(std::size_t part);

    /// Does what a first step does beside its result, so that a graph can capture the next: loads
    /// kernels and compiles attention, makes the optimizer's state. One block of the model does for
    /// all. Changes no parameter; drops its gradients.
    void rehearse();

    /// The memory that a step holds: parameters and buffers, the batch, the optimizer's state, and
    /// behind a step its gradients and results.
    std::vector<torch::Tensor> parameters() const;
    std::vector<torch::Tensor> inputs() const;
    std::vector<torch::Tensor> optimizer_state() const;
    std::vector<torch::Tensor> gradients() const;
    std::vector<torch::Tensor> outputs() const;

    /// Of the last step: the mean cross entropy of a train_step, else the sum of the logits.
    double loss() const;

    torch::Device device() const { return ids_.device(); }

  private:
    void forward(std::size_t num_blocks);

    Transformer model_;
    std::vector<torch::Tensor> parameters_;
    torch::Tensor ids_;
    torch::Tensor targets_;
    PassType pass_type_;
    Precision precision_;
    AdamW optimizer_;
    torch::Tensor logits_;  ///< of a forward pass alone
    torch::Tensor loss_;    ///< of the others
};

}  // namespace isosweep
