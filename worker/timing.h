#pragma once

#include <isosweep/benchmark.h>

#include <functional>
#include <optional>
#include <string_view>

#include "device.h"
#include "memory_ledger.h"

namespace isosweep {

/// The part of a step that is running ("forward", "backward", "optimizer"), else empty: tells where
/// an exception came from.
struct RunningPart {
    std::string_view name;
};

/// What the worker wants beside the times of a benchmark's steps.
struct Instruments {
    Passes passes = {.memory = false};
    /// Called right before and right behind the measured steps.
    std::function<void()> measure_begins = nullptr;
    std::function<void()> measure_ended = nullptr;
    /// Energy that the GPU has used since some time, in joules, if it tells.
    std::function<std::optional<double>()> energy_j = nullptr;
};

/// What was seen beside the times. What the device or the passes do not offer is absent.
struct Observations {
    /// Steps that were enqueued without waiting, and what one took.
    struct Pipelined {
        std::int64_t steps = 0;
        double ms_per_step = 0;
        std::optional<double> energy_j;  ///< of all of them
    };
    /// Of the GPU's allocator.
    struct Memory {
        std::int64_t first_step_peak = 0;  ///< bytes allocated; with a graph, while it was captured
        cuda::Memory at_end;               ///< its peaks are those of the later steps
        std::int64_t device_allocations = 0;  ///< while steps were measured
        std::int64_t retries = 0;             ///< likewise
    };
    double timer_floor_ms = 0;  ///< of a step that does nothing, the median of many
    double capture_ms = 0;      ///< rehearsing and capturing the graph
    std::optional<Memory> memory;
    std::optional<MemoryLedger> ledger;
    std::optional<Pipelined> pipelined;
};

/// What the benchmark_ functions and the worker share: all steps of one benchmark of `model`.
BenchmarkResult benchmark(Transformer model, const torch::Tensor& input_ids, PassType pass_type,
                          const BenchmarkOptions& options, const Instruments& instruments,
                          RunningPart& running, Observations& seen);

}  // namespace isosweep
