#pragma once

#include <isosweep/cell.h>

#include <optional>
#include <string>
#include <vector>

#include "orchestrator/table.h"

namespace isosweep::tests {

/// A cell that was measured on an H200, from tests/golden/nvidia_h200.csv: the rows of
/// results/reference/NVIDIA-H200 that had a process of their own, are ok and had no limit.
struct MeasuredCell {
    struct Ledger {
        double parameters, gradients, optimizer, activations, workspace;
    };
    std::string sweep;
    Cell cell;
    double peak_bytes = 0;
    std::optional<Ledger> ledger;  ///< the older sweeps have none
    double median_ms = 0;
    double elapsed_ms = 0;
};

inline std::vector<MeasuredCell> measured_cells() {
    const Table table = read_csv(TESTS_DIR "/golden/nvidia_h200.csv");
    std::vector<MeasuredCell> cells;
    for (std::size_t row = 0; row < table.row_count(); ++row) {
        const auto text = [&](const char* column) {
            return std::get<std::string>(table.at(row, column));
        };
        const auto number = [&](const char* column) { return std::stod(text(column)); };
        MeasuredCell measured;
        measured.sweep = text("sweep");
        measured.cell.device = Device::cuda;
        set_model(measured.cell, text("model_size"), *find_model_config(text("model_size")));
        for_each_field(measured.cell, [&](const Field& field, auto& value) {
            if (field.name != "model_size" && table.has_column(field.name))
                parse_field(text(std::string(field.name).c_str()), field, value);
        });
        measured.peak_bytes = number("peak_allocated_bytes");
        if (!text("parameters_bytes").empty())
            measured.ledger = {number("parameters_bytes"), number("gradients_bytes"),
                               number("optimizer_bytes"), number("activations_bytes"),
                               number("workspace_bytes")};
        measured.median_ms = number("median_time_ms");
        measured.elapsed_ms = number("elapsed_ms");
        cells.push_back(measured);
    }
    return cells;
}

}  // namespace isosweep::tests
