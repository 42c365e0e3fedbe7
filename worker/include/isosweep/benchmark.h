#pragma once

#include <isosweep/cell.h>
#include <isosweep/stopping.h>
#include <isosweep/transformer.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

/// What the worker measures, as a library: build a model, make a batch, time its steps.
///
///     torch::manual_seed(1);
///     const ModelConfig& small = *isosweep::find_model_config("small");
///     isosweep::Transformer model = isosweep::create_model(small, 512, torch::kCUDA);
///     torch::Tensor ids = isosweep::generate_random_batch(4, 512, small.vocab_size, torch::kCUDA);
///     double ms = isosweep::benchmark_forward_backward(model, ids, {.measure_steps = 20}).mean_ms;
///
/// Everything a benchmark switches (autocast, TF32, gradients) is put back before it returns or
/// throws. Torch's errors pass through: c10::OutOfMemoryError where the GPU's memory did not
/// suffice.
namespace isosweep {

struct BenchmarkOptions {
    StepCount warmup_steps = 5;    ///< >= 0; timed and kept apart; default-made: until steady
    StepCount measure_steps = 10;  ///< >= 1; default-made: until the median is known to 1 %
    bool sync = true;  ///< synchronise the device around each step; off shows what goes wrong then
    bool cuda_graph = false;  ///< capture the step once, before warming up, and replay it
    Precision precision = Precision::fp32;
    /// Called with "warmup" and "measure" when these begin, and again between steps at most once a
    /// second as a sign of life; never while a step is timed.
    std::function<void(std::string_view)> on_phase = nullptr;
};

/// Milliseconds that the parts of each measured step took, by CUDA events on a GPU and by the
/// host's clock on a CPU. A part that the pass does not have is empty; all are where the steps of a
/// CUDA graph are not synchronised.
struct PhaseTimes {
    std::vector<double> forward;
    std::vector<double> backward;
    std::vector<double> optimizer;
};

/// The times of a benchmark's steps, by the host's steady clock.
struct BenchmarkResult {
    std::vector<double> warmup_ms;   ///< one per warm-up step
    std::vector<double> samples_ms;  ///< one per measured step
    PhaseTimes phases_ms;            ///< within `samples_ms`
    // Of each measured step, in milliseconds. On a GPU:
    std::vector<double> enqueue_ms;  ///< until the host had enqueued it
    std::vector<double> drain_ms;    ///< from there until the GPU had done it; with sync alone
    std::vector<double> gpu_ms;      ///< on the GPU's own time line, by events
    // On a CPU:
    std::vector<double> cpu_ms;  ///< of all its cores that this process used
    double mean_ms = 0;          ///< of `samples_ms`
    double std_ms = 0;           ///< likewise, of the population
    /// Of the last step: the sum of the logits; of a train step its cross entropy.
    double loss = 0;
    /// Whether warming up ended because steps had become steady; absent for a fixed number.
    std::optional<bool> warmup_steady;
    /// Why measuring ended; absent for a fixed number.
    std::optional<StopReason> stop_reason;
};

/// Random token ids [batch_size, context_length] (int64, below `vocab_size`), from the default
/// generator of `device`.
torch::Tensor generate_random_batch(std::int64_t batch_size, std::int64_t context_length,
                                    std::int64_t vocab_size, torch::Device device);

/// Forward passes without gradients over `input_ids` [batch, sequence].
BenchmarkResult benchmark_forward(Transformer model, const torch::Tensor& input_ids,
                                  const BenchmarkOptions& options = {});

/// Forward and backward passes of the sum of the logits. Setting the gradients to none between the
/// steps is not timed, and none are left behind.
BenchmarkResult benchmark_forward_backward(Transformer model, const torch::Tensor& input_ids,
                                           const BenchmarkOptions& options = {});

/// Training steps: forward, mean cross entropy against random targets, backward, AdamW. The model
/// is another one afterwards.
BenchmarkResult benchmark_train_step(Transformer model, const torch::Tensor& input_ids,
                                     const BenchmarkOptions& options = {});

}  // namespace isosweep
