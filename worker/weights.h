#pragma once

#include <isosweep/model_config.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace isosweep {

/// Where the weights of a model's linear layers lie, each [out, in] in fp32.
///
/// Apart: each is a tensor of its own, as in the course's model. In one block: they are parts of
/// one tensor, so that a single operation casts all of them, and layers that read the same input
/// lie one behind the other and are multiplied as one.
class LinearWeights {
  public:
    /// All weights stand apart.
    explicit LinearWeights(torch::Device device) : device_(device) {}
    /// One block with room for the weights of `counts` elements each, in the order of `make`.
    LinearWeights(torch::Device device, std::int64_t elements);

    /// Weights for the layers of one input, drawn in the order given by `make_order` later;
    /// adjacent where there is a block. The values are not set.
    std::vector<torch::Tensor> allocate(std::initializer_list<std::int64_t> rows,
                                        std::int64_t columns);

    /// The block; undefined where the weights stand apart.
    const torch::Tensor& block() const { return block_; }

    /// Elements that `allocate` takes from the block for `rows` x `columns`.
    static std::int64_t padded(std::int64_t rows, std::int64_t columns);

  private:
    torch::Device device_;
    torch::Tensor block_;  ///< [elements]
    std::int64_t used_ = 0;
};

struct MatrixSize {
    std::int64_t rows = 0;
    std::int64_t columns = 0;
};

/// The matrices of a Transformer block's linear layers where those of one input are merged:
/// queries, keys and values; output; gate and up; down.
std::array<MatrixSize, 4> merged_sizes(const ModelConfig& config);

/// In `block`, which holds what a model's block of weights holds (cast, say): the matrix of `rows`
/// that begins where `first` begins there.
torch::Tensor merged(const torch::Tensor& block, const torch::Tensor& first, std::int64_t rows);

/// Sets a linear layer's weight [out, in] as the course does: normal with variance 2 / (in + out),
/// cut at three standard deviations. \returns the weight
torch::Tensor draw_linear(const torch::Tensor& weight);

/// Sets `tensor` to normal numbers cut at three standard deviations, in place, from the default
/// generator of its device. \returns the tensor
torch::Tensor draw_truncated_normal(const torch::Tensor& tensor, double sigma);

}  // namespace isosweep
