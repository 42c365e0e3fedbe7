#pragma once

#include <array>
#include <string_view>

namespace isosweep {

/// The CSV's columns, each named once here or in `for_each_field`. In this order: `first_columns`,
/// `key`, the cell's fields not yet named, custom axes, `figure_columns`, `worker_columns`, then
/// whatever else a worker measured. New ones go behind the others of their list.
inline constexpr std::array<std::string_view, 12> first_columns = {
    "model_size", "context_length", "batch_size",  "warmup_steps", "measure_steps", "pass_type",
    "num_params", "mean_time_ms",   "std_time_ms", "cv_percent",   "error",         "status"};

inline constexpr std::array<std::string_view, 69> figure_columns = {"sample_std_time_ms",
                                                                    "median_time_ms",
                                                                    "min_time_ms",
                                                                    "max_time_ms",
                                                                    "first_step_ms",
                                                                    "tokens_per_s",
                                                                    "forward_mean_ms",
                                                                    "forward_std_ms",
                                                                    "forward_cv_percent",
                                                                    "backward_mean_ms",
                                                                    "backward_std_ms",
                                                                    "backward_cv_percent",
                                                                    "optimizer_mean_ms",
                                                                    "optimizer_std_ms",
                                                                    "optimizer_cv_percent",
                                                                    "peak_allocated_bytes",
                                                                    "peak_reserved_bytes",
                                                                    "requested_bytes",
                                                                    "free_bytes",
                                                                    "phase",
                                                                    "exit_code",
                                                                    "signal",
                                                                    "flags",
                                                                    "noise_lines",
                                                                    "message",
                                                                    "warning",
                                                                    "attempts",
                                                                    "failed_attempts",
                                                                    "isolation",
                                                                    "gpu",
                                                                    "driver",
                                                                    "torch",
                                                                    "worker_build",
                                                                    "isosweep_build",
                                                                    "gpu_uuid",
                                                                    "started_at",
                                                                    "elapsed_ms",
                                                                    "attempt",
                                                                    "samples",
                                                                    "warmup_samples",
                                                                    "median_ci_low_ms",
                                                                    "median_ci_high_ms",
                                                                    "cv_se_percent",
                                                                    "iqr_ms",
                                                                    "p90_ms",
                                                                    "p95_ms",
                                                                    "p99_ms",
                                                                    "outliers",
                                                                    "severe_outliers",
                                                                    "trend_percent",
                                                                    "autocorrelation",
                                                                    "cold_ratio",
                                                                    "warmup_needed",
                                                                    "enqueue_median_ms",
                                                                    "drain_median_ms",
                                                                    "gpu_median_ms",
                                                                    "regime",
                                                                    "sync_tax_ms",
                                                                    "cpu_utilisation",
                                                                    "step_tflop",
                                                                    "tflops_per_s",
                                                                    "mfu_percent",
                                                                    "mfu_causal_percent",
                                                                    "mfu_attainable_percent",
                                                                    "peak_tflops",
                                                                    "peak_source",
                                                                    "attainable_tflops",
                                                                    "energy_j_per_step",
                                                                    "energy_j_per_token"};

/// What a worker may send as single values under names of ours, and that stands as it is.
inline constexpr std::array<std::string_view, 42> worker_columns = {
    "timer_floor_ms",
    "pipelined_steps",
    "pipelined_ms",
    "energy_steps",
    "energy_j",
    "first_step_peak_allocated_bytes",
    "parameters_bytes",
    "gradients_bytes",
    "optimizer_bytes",
    "activations_bytes",
    "workspace_bytes",
    "rounding_bytes",
    "ledger_error_bytes",
    "fragmentation_bytes",
    "outside_torch_bytes",
    "device_allocs",
    "alloc_retries",
    "sm_clock_mhz_mean",
    "sm_clock_mhz_min",
    "sm_clock_max_mhz",
    "memory_clock_mhz",
    "power_w_mean",
    "power_w_max",
    "power_limit_w",
    "temperature_c_max",
    "throttled",
    "throttle_reasons",
    "power_capped_fraction",
    "other_gpu_processes",
    "compute_capability",
    "sm_count",
    "warmup_steady",
    "converged",
    "stop_reason",
    "capture_ms",
    "cuda_runtime",
    "allocator_settings",
    "num_threads",
    "load_average",
    "cpus",
    "debug_build",
    "launch_blocking"};

/// What the views `warmup` and `phases` add.
inline constexpr std::array<std::string_view, 4> view_columns = {
    "difference_to_5_warmup_ms", "difference_to_5_warmup_percent", "total_mean_ms",
    "backward_forward_ratio"};

/// Whether a column of this name means something of ours, so that neither a custom axis nor a
/// worker's own figure may bear it.
bool is_own_column(std::string_view name);

}  // namespace isosweep
