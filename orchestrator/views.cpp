#include "orchestrator/views.h"

#include <map>

#include "orchestrator/checks_view.h"
#include "orchestrator/columns.h"
#include "orchestrator/failures.h"
#include "orchestrator/memory_view.h"
#include "orchestrator/overhead_view.h"
#include "orchestrator/prediction_view.h"
#include "orchestrator/scaling.h"
#include "orchestrator/view_parts.h"

namespace isosweep {
namespace {

using ShownColumns = std::vector<ShownColumn>;

/// `axes`, then `figures`, then how the cell ended.
ShownColumns shown_row(ShownColumns axes, const ShownColumns& figures) {
    axes.insert(axes.end(), figures.begin(), figures.end());
    axes.insert(axes.end(), {{"status", "status"}, {"flags", "flags"}, {"error", "error"}});
    return axes;
}

// --- cells --------------------------------------------------------------------------------------

Table all_rows(const Table& cells) { return cells; }

ShownColumns shown_cells(const Table& rows) {
    return shown_row(shown_axes(rows),
                     {{"num_params", "parameters"},
                      {"mean_time_ms", "mean ms"},
                      {"std_time_ms", "std ms"},
                      {"cv_percent", "cv %", 2},
                      {"tokens_per_s", "tokens/s", 0},
                      {"peak_allocated_bytes", "peak GiB", 3, ShowAs::gibibytes}});
}

// --- warmup -------------------------------------------------------------------------------------

Table with_warmup_differences(const Table& cells) {
    const std::vector<std::string> others = axis_columns(cells, {"warmup_steps"});
    std::map<std::string, double> after_5;
    for (std::size_t row = 0; row < cells.row_count(); ++row)
        if (const auto mean = number_at(cells, row, "mean_time_ms");
            mean && text_at(cells, row, "warmup_steps") == "5")
            after_5[texts_at(cells, row, others)] = *mean;
    Table table = without_rows(cells);
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        copy_row(table, cells, row);
        const auto mean = number_at(cells, row, "mean_time_ms");
        const auto reference = after_5.find(texts_at(cells, row, others));
        if (!mean || reference == after_5.end()) continue;
        table.set("difference_to_5_warmup_ms", *mean - reference->second);
        table.set("difference_to_5_warmup_percent", 100 * (*mean / reference->second - 1));
    }
    return table;
}

ShownColumns shown_warmup(const Table& rows) {
    return shown_row(shown_axes(rows, "warmup_steps"),
                     {{"warmup_steps", "warm-up", 0, ShowAs::exact},
                      {"mean_time_ms", "mean ms"},
                      {"std_time_ms", "std ms"},
                      {"cv_percent", "cv %", 2},
                      {"difference_to_5_warmup_ms", "to 5, ms"},
                      {"difference_to_5_warmup_percent", "to 5, %", 2}});
}

// --- phases -------------------------------------------------------------------------------------

Table forward_backward_rows(const Table& cells) {
    Table table = without_rows(cells);
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        if (text_at(cells, row, "pass_type") != "forward_backward") continue;
        copy_row(table, cells, row);
        const auto forward = number_at(cells, row, "forward_mean_ms");
        const auto backward = number_at(cells, row, "backward_mean_ms");
        if (!forward || !backward) continue;
        table.set("total_mean_ms", *forward + *backward);
        table.set("backward_forward_ratio", *backward / *forward);
    }
    return table;
}

ShownColumns shown_phases(const Table& rows) {
    return shown_row(shown_axes(rows), {{"num_params", "parameters"},
                                        {"forward_mean_ms", "forward ms"},
                                        {"forward_std_ms", "std"},
                                        {"backward_mean_ms", "backward ms"},
                                        {"backward_std_ms", "std"},
                                        {"total_mean_ms", "total ms"},
                                        {"backward_forward_ratio", "bwd/fwd", 2}});
}

// --- all of them --------------------------------------------------------------------------------

/// What makes a view.
struct Layout {
    std::vector<std::string> first;            ///< the columns in front of all others
    Table (*rows)(const Table& cells);         ///< its rows, in any order of columns
    ShownColumns (*shown)(const Table& rows);  ///< what a person sees of them
};

Layout layout_of(View view) {
    switch (view) {
        case View::cells:
            return {{first_columns.begin(), first_columns.end()}, all_rows, shown_cells};
        case View::warmup:
            return {{"warmup_steps", "mean_time_ms", "std_time_ms", "cv_percent",
                     "difference_to_5_warmup_ms", "difference_to_5_warmup_percent"},
                    with_warmup_differences,
                    shown_warmup};
        case View::phases:
            return {{"model_size", "num_params", "context_length", "batch_size", "warmup_steps",
                     "measure_steps", "forward_mean_ms", "forward_std_ms", "forward_cv_percent",
                     "backward_mean_ms", "backward_std_ms", "backward_cv_percent", "total_mean_ms",
                     "backward_forward_ratio", "error"},
                    forward_backward_rows,
                    shown_phases};
        case View::memory:
            return {{"model_size",
                     "context_length",
                     "batch_size",
                     "pass_type",
                     "peak_allocated_bytes",
                     "memory_room_bytes",
                     "memory_share_percent",
                     "parameters_bytes",
                     "gradients_bytes",
                     "optimizer_bytes",
                     "activations_bytes",
                     "workspace_bytes",
                     "rounding_bytes",
                     "ledger_error_bytes",
                     "peak_reserved_bytes",
                     "fragmentation_bytes",
                     "outside_torch_bytes",
                     "requested_bytes",
                     "free_bytes",
                     "error",
                     "status"},
                    memory_rows,
                    shown_memory};
        case View::scaling:
            return {{"scaling_series", "scaling_axis", "model_size", "num_params", "context_length",
                     "batch_size", "pass_type", "median_time_ms", "tokens_per_s", "mfu_percent",
                     "local_exponent", "time_exponent", "time_exponent_se", "time_exponent_points"},
                    scaling_rows,
                    shown_scaling};
        case View::checks:
            return {{"model_size", "context_length", "batch_size", "pass_type", "median_time_ms",
                     "regime", "canary_ratio", "fit_residual_percent", "phases_sum_percent",
                     "nested_forward_percent", "nested_step_percent", "backward_ratio_percent",
                     "optimizer_bandwidth_percent", "check_flags"},
                    checked_rows,
                    shown_checks};
        case View::overhead:
            return {{"model_size", "context_length", "batch_size", "pass_type", "gate_wait_ms",
                     "worker_start_ms", "driver_ms", "context_ms", "build_ms", "capture_ms",
                     "warmup_total_ms", "measure_total_ms", "answer_rest_ms", "worker_exit_ms",
                     "cell_total_ms", "outside_steps_ms"},
                    overhead_rows,
                    shown_overhead};
        case View::failures:
            return {{"cause", "cause_cells", "status", "phase", "signal", "exit_code", "model_size",
                     "context_length", "batch_size", "pass_type", "attempts", "message",
                     "requested_bytes", "free_bytes", "fallback_key", "witness", "key", "repro",
                     "command"},
                    failure_rows,
                    shown_failures};
        case View::prediction:
            return {{"model_size", "context_length", "batch_size", "pass_type",
                     "predicted_peak_bytes", "peak_allocated_bytes", "peak_error_percent",
                     "predicted_time_ms", "median_time_ms", "time_error_percent",
                     "predicted_elapsed_ms", "elapsed_ms", "elapsed_error_percent"},
                    prediction_rows,
                    shown_prediction};
    }
    return {};
}

}  // namespace

Table apply_view(const Table& cells, View view) {
    const Layout layout = layout_of(view);
    return layout.rows(cells).with_first(layout.first);
}

bool is_row_by_row(View view) { return view == View::cells || view == View::phases; }

std::vector<ShownColumn> shown_columns(View view, const Table& table) {
    return layout_of(view).shown(table);
}

}  // namespace isosweep
