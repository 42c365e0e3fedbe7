#include "orchestrator/overhead_view.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "orchestrator/view_parts.h"

namespace isosweep {
namespace {

/// What the worker tells of the time between a request and its result.
constexpr auto parts_of_answer = std::to_array<std::string_view>(
    {"driver_ms", "context_ms", "build_ms", "capture_ms", "warmup_total_ms", "measure_total_ms"});

constexpr auto summed = std::to_array<std::string_view>(
    {"gate_wait_ms", "worker_start_ms", "driver_ms", "context_ms", "build_ms", "capture_ms",
     "warmup_total_ms", "measure_total_ms", "answer_rest_ms", "worker_exit_ms", "cell_total_ms",
     "outside_steps_ms"});

/// A sum of columns of a row; what is absent counts nothing.
template <class Columns>
double sum_of(const Table& table, std::size_t row, const Columns& columns) {
    double sum = 0;
    for (const std::string_view column : columns) sum += number_at(table, row, column).value_or(0);
    return sum;
}

}  // namespace

Table overhead_rows(const Table& cells) {
    Table table = without_rows(cells);
    std::map<std::string_view, double> sums;
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        const auto elapsed = number_at(cells, row, "elapsed_ms");
        if (!elapsed) continue;
        copy_row(table, cells, row);
        const std::size_t here = table.row_count() - 1;
        const double total = *elapsed + number_at(cells, row, "gate_wait_ms").value_or(0);
        table.set("cell_total_ms", total);
        if (const auto answer = number_at(cells, row, "answer_ms"))
            table.set("answer_rest_ms",
                      std::max(0.0, *answer - sum_of(cells, row, parts_of_answer)));
        const std::array<std::string_view, 2> steps = {"warmup_total_ms", "measure_total_ms"};
        table.set("outside_steps_ms", total - sum_of(cells, row, steps));
        for (const std::string_view column : summed)
            if (const auto part = number_at(table, here, column)) sums[column] += *part;
    }
    if (table.row_count() == 0) return table;
    // What all rows have in common is the sum's, too.
    std::map<std::string, Value> common;
    for (const std::string& axis : axis_columns(table)) {
        common[axis] = table.at(0, axis);
        for (std::size_t row = 1; row < table.row_count(); ++row)
            if (text_at(table, row, axis) != text_at(table, 0, axis)) common[axis] = {};
    }
    table.add_row();
    for (const auto& [axis, value] : common) table.set(axis, value);
    table.set("model_size", "all");
    for (const auto& [column, sum] : sums) table.set(column, sum);
    return table;
}

std::vector<ShownColumn> shown_overhead(const Table& rows) {
    std::vector<ShownColumn> shown = shown_axes(rows);
    for (const auto& [column, heading] :
         {std::pair{"gate_wait_ms", "gate ms"}, std::pair{"worker_start_ms", "start"},
          std::pair{"driver_ms", "driver"}, std::pair{"context_ms", "context"},
          std::pair{"build_ms", "build"}, std::pair{"capture_ms", "capture"},
          std::pair{"warmup_total_ms", "warm-up"}, std::pair{"measure_total_ms", "measure"},
          std::pair{"answer_rest_ms", "rest"}, std::pair{"worker_exit_ms", "exit"},
          std::pair{"cell_total_ms", "total ms"}, std::pair{"outside_steps_ms", "outside steps"}})
        shown.push_back({column, heading, 0});
    shown.push_back({"status", "status"});
    return shown;
}

}  // namespace isosweep
