#pragma once

#include <array>
#include <string_view>

namespace isosweep {

/// The CSV's columns, each named once here or in `for_each_field`. In this order: `first_columns`,
/// `key`, the cell's fields not yet named, custom axes, `figure_columns`, then whatever else a
/// worker measured.
inline constexpr std::array<std::string_view, 12> first_columns = {
    "model_size", "context_length", "batch_size",  "warmup_steps", "measure_steps", "pass_type",
    "num_params", "mean_time_ms",   "std_time_ms", "cv_percent",   "error",         "status"};

inline constexpr std::array<std::string_view, 39> figure_columns = {"sample_std_time_ms",
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
                                                                    "command"};

/// What the views `warmup` and `phases` add.
inline constexpr std::array<std::string_view, 4> view_columns = {
    "difference_to_5_warmup_ms", "difference_to_5_warmup_percent", "total_mean_ms",
    "backward_forward_ratio"};

/// Whether a column of this name means something of ours, so that neither a custom axis nor a
/// worker's own figure may bear it.
bool is_own_column(std::string_view name);

}  // namespace isosweep
