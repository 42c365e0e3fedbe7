#include "orchestrator/checks_view.h"

#include "orchestrator/view_parts.h"

namespace isosweep {

Table checked_rows(const Table& cells) {
    Table table = without_rows(cells);
    for (std::size_t row = 0; row < cells.row_count(); ++row)
        if (text_at(cells, row, "status") == "ok") copy_row(table, cells, row);
    return table;
}

std::vector<ShownColumn> shown_checks(const Table& rows) {
    std::vector<ShownColumn> shown = shown_axes(rows);
    shown.insert(shown.end(), {{"median_time_ms", "median ms"},
                               {"regime", "regime"},
                               {"canary_ratio", "canary", 4},
                               {"fit_residual_percent", "off fit %", 1},
                               {"phases_sum_percent", "phases %", 1},
                               {"nested_forward_percent", "forward %", 1},
                               {"nested_step_percent", "step %", 1},
                               {"backward_ratio_percent", "bwd/fwd %", 1},
                               {"optimizer_bandwidth_percent", "AdamW %", 1},
                               {"check_flags", "check flags"},
                               {"fit_rows", "fit of"},
                               {"fit_sigma_percent", "± %", 1},
                               {"fit_layer_us", "layer us", 1},
                               {"fit_linear_tflops", "linear TFLOP/s", 1},
                               {"fit_attention_tflops", "attention TFLOP/s", 1},
                               {"fit_memory_gb_per_s", "memory GB/s", 0}});
    return shown;
}

}  // namespace isosweep
