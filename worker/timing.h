#pragma once

#include <isosweep/benchmark.h>

#include <string_view>

namespace isosweep {

/// The part of a step that is running ("forward", "backward", "optimizer"), else empty: tells where
/// an exception came from.
struct RunningPart {
    std::string_view name;
};

/// What the benchmark_ functions and the worker share: all steps of one benchmark of `model`.
BenchmarkResult benchmark(Transformer model, const torch::Tensor& input_ids, PassType pass_type,
                          const BenchmarkOptions& options, RunningPart& running);

}  // namespace isosweep
