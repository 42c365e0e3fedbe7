#include "orchestrator/prediction_view.h"

#include <isosweep/statistics.h>

#include <cmath>
#include <map>
#include <string>

#include "orchestrator/view_parts.h"

namespace isosweep {
namespace {

/// What was predicted, what was measured, and the column that tells by how much the one is off.
struct Compared {
    const char* predicted;
    const char* measured;
    const char* error;
};
constexpr Compared compared[] = {
    {"predicted_peak_bytes", "peak_allocated_bytes", "peak_error_percent"},
    {"predicted_time_ms", "median_time_ms", "time_error_percent"},
    {"predicted_elapsed_ms", "elapsed_ms", "elapsed_error_percent"}};

}  // namespace

Table prediction_rows(const Table& cells) {
    Table table = without_rows(cells);
    std::map<std::string, std::vector<double>> sizes;
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        if (text_at(cells, row, "status") != "ok") continue;
        copy_row(table, cells, row);
        for (const Compared& pair : compared) {
            const auto predicted = number_at(cells, row, pair.predicted);
            const auto measured = number_at(cells, row, pair.measured);
            if (!predicted || !measured || *measured == 0) continue;
            const double error = 100 * (*predicted / *measured - 1);
            table.set(pair.error, error);
            sizes[pair.error].push_back(std::abs(error));
        }
    }
    if (sizes.empty()) return table;
    table.add_row();
    table.set("model_size", std::string("median of sizes"));
    for (const auto& [column, errors] : sizes) table.set(column, summarize(errors)->median);
    return table;
}

std::vector<ShownColumn> shown_prediction(const Table& rows) {
    // The last row is no cell: it would make every axis one that varies.
    Table cells = without_rows(rows);
    for (std::size_t row = 0; row < rows.row_count(); ++row)
        if (!text_at(rows, row, "status").empty()) copy_row(cells, rows, row);
    std::vector<ShownColumn> shown = shown_axes(cells);
    for (const ShownColumn& column :
         std::vector<ShownColumn>{{"predicted_peak_bytes", "predicted GiB", 3, ShowAs::gibibytes},
                                  {"peak_allocated_bytes", "peak GiB", 3, ShowAs::gibibytes},
                                  {"peak_error_percent", "off by %", 1},
                                  {"predicted_time_ms", "predicted ms", 2},
                                  {"median_time_ms", "median ms", 2},
                                  {"time_error_percent", "off by %", 1},
                                  {"predicted_elapsed_ms", "predicted cell ms", 0},
                                  {"elapsed_ms", "cell ms", 0},
                                  {"elapsed_error_percent", "off by %", 1}})
        shown.push_back(column);
    return shown;
}

}  // namespace isosweep
