#include "weights.h"

#include <torch/csrc/autograd/generated/variable_factories.h>

#include <cmath>

namespace isosweep {
namespace {

/// Matrix products want their operands at multiples of 128 bytes, also when cast to 16 bits.
constexpr std::int64_t alignment = 64;

}  // namespace

LinearWeights::LinearWeights(torch::Device device, std::int64_t elements)
    : device_(device),
      block_(torch::empty({elements}, torch::dtype(torch::kFloat).device(device))) {}

std::int64_t LinearWeights::padded(std::int64_t rows, std::int64_t columns) {
    return (rows * columns + alignment - 1) / alignment * alignment;
}

std::vector<torch::Tensor> LinearWeights::allocate(std::initializer_list<std::int64_t> rows,
                                                   std::int64_t columns) {
    std::vector<torch::Tensor> weights;
    std::int64_t all_rows = 0;
    for (const std::int64_t count : rows) {
        weights.push_back(
            block_.defined()
                ? block_.narrow(0, used_ + all_rows * columns, count * columns)
                      .view({count, columns})
                : torch::empty({count, columns}, torch::dtype(torch::kFloat).device(device_)));
        all_rows += count;
    }
    used_ += padded(all_rows, columns);
    return weights;
}

std::array<MatrixSize, 4> merged_sizes(const ModelConfig& config) {
    const std::int64_t d = config.d_model;
    const std::int64_t f = config.d_ff;
    return {{{3 * d, d}, {d, d}, {2 * f, d}, {d, f}}};
}

torch::Tensor merged(const torch::Tensor& block, const torch::Tensor& first, std::int64_t rows) {
    const std::int64_t columns = first.size(1);
    return block.narrow(0, first.storage_offset(), rows * columns).view({rows, columns});
}

torch::Tensor draw_truncated_normal(const torch::Tensor& tensor, double sigma) {
    const torch::NoGradGuard no_grad;
    // So far inside that rounding in fp32 leads to no number beyond three deviations; a clamp would
    // be one more of the kernels whose loading makes up most of a model's build.
    constexpr double margin = 1e-6;
    const double edge = std::erf(3.0 / std::sqrt(2.0)) - margin;
    // The inverse of the normal distribution, applied in place to uniform numbers.
    return tensor.uniform_(-edge, edge).erfinv_().mul_(sigma * std::sqrt(2.0));
}

torch::Tensor draw_linear(const torch::Tensor& weight) {
    const auto fans = static_cast<double>(weight.size(0) + weight.size(1));
    return draw_truncated_normal(weight, std::sqrt(2.0 / fans));
}

}  // namespace isosweep
