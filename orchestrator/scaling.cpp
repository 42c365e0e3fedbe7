#include "orchestrator/scaling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>

#include "orchestrator/view_parts.h"

namespace isosweep {
namespace {

/// An axis along which time is looked at.
struct ScalingAxis {
    std::string_view column;  ///< the numbers, and the axis' name in the table
    std::string_view field;   ///< what distinguishes the cells of a series
};

constexpr std::array<ScalingAxis, 3> scaling_axes = {{{"context_length", "context_length"},
                                                      {"num_params", "model_size"},
                                                      {"batch_size", "batch_size"}}};

/// A measured cell as a point of a series.
struct SeriesPoint {
    std::size_t row = 0;
    double x = 0;
    double milliseconds = 0;
};

using Series = std::vector<SeriesPoint>;

/// The measured cells of each series along an axis, by rising x; the series in the order of their
/// first rows.
std::vector<Series> find_series(const Table& cells, const ScalingAxis& axis) {
    const std::vector<std::string> others = axis_columns(cells, {axis.field, "replicate"});
    std::vector<Series> all;
    std::map<std::string, std::size_t> index;
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        const auto x = number_at(cells, row, axis.column);
        const auto time = number_at(cells, row, "median_time_ms");
        if (!x || !time || *x <= 0 || *time <= 0) continue;
        const auto [found, is_new] = index.emplace(texts_at(cells, row, others), all.size());
        if (is_new) all.emplace_back();
        all[found->second].push_back({row, *x, *time});
    }
    for (Series& series : all)
        std::stable_sort(series.begin(), series.end(),
                         [](const SeriesPoint& a, const SeriesPoint& b) { return a.x < b.x; });
    return all;
}

std::optional<PowerLaw> law_of(const Series& series) {
    std::vector<std::pair<double, double>> points;
    for (const SeriesPoint& point : series) points.emplace_back(point.x, point.milliseconds);
    return fit_power_law(points);
}

/// Those of a series with this x or the next smaller one.
Series with_neighbour_below(const Series& series, double x) {
    double below = 0;
    for (const SeriesPoint& point : series)
        if (point.x < x) below = point.x;
    Series two;
    for (const SeriesPoint& point : series)
        if (point.x == x || point.x == below) two.push_back(point);
    return two;
}

}  // namespace

std::optional<PowerLaw> fit_power_law(std::span<const std::pair<double, double>> points) {
    const auto n = static_cast<double>(points.size());
    double mean_x = 0;
    double mean_y = 0;
    for (const auto& [x, y] : points) {
        mean_x += std::log(x) / n;
        mean_y += std::log(y) / n;
    }
    double sum_xx = 0;
    double sum_xy = 0;
    for (const auto& [x, y] : points) {
        sum_xx += (std::log(x) - mean_x) * (std::log(x) - mean_x);
        sum_xy += (std::log(x) - mean_x) * (std::log(y) - mean_y);
    }
    const bool is_one_x = std::all_of(points.begin(), points.end(), [&](const auto& point) {
        return point.first == points.front().first;
    });
    if (is_one_x) return std::nullopt;
    PowerLaw law;
    law.exponent = sum_xy / sum_xx;
    law.points = points.size();
    if (points.size() < 3) return law;
    double residuals = 0;
    for (const auto& [x, y] : points) {
        const double residual = std::log(y) - mean_y - law.exponent * (std::log(x) - mean_x);
        residuals += residual * residual;
    }
    law.standard_error = std::sqrt(residuals / (n - 2) / sum_xx);
    return law;
}

Table scaling_rows(const Table& cells) {
    Table table = without_rows(cells);
    std::int64_t number = 0;
    for (const ScalingAxis& axis : scaling_axes)
        for (const Series& series : find_series(cells, axis)) {
            const std::optional<PowerLaw> law = law_of(series);
            if (!law) continue;
            ++number;
            for (const SeriesPoint& point : series) {
                copy_row(table, cells, point.row);
                table.set("scaling_axis", std::string(axis.column));
                table.set("scaling_series", number);
                if (const auto local = law_of(with_neighbour_below(series, point.x)))
                    table.set("local_exponent", local->exponent);
                table.set("time_exponent", law->exponent);
                if (law->standard_error) table.set("time_exponent_se", *law->standard_error);
                table.set("time_exponent_points", static_cast<std::int64_t>(law->points));
            }
        }
    return table;
}

std::vector<ShownColumn> shown_scaling(const Table& rows) {
    std::vector<ShownColumn> shown = {{"scaling_series", "series"}, {"scaling_axis", "along"}};
    const std::vector<ShownColumn> axes = shown_axes(rows);
    shown.insert(shown.end(), axes.begin(), axes.end());
    shown.insert(shown.end(), {{"num_params", "parameters"},
                               {"median_time_ms", "median ms"},
                               {"tokens_per_s", "tokens/s", 0},
                               {"mfu_percent", "MFU %", 1},
                               {"regime", "regime"},
                               {"local_exponent", "local exponent", 2},
                               {"time_exponent", "exponent", 2},
                               {"time_exponent_se", "± se", 2},
                               {"time_exponent_points", "points"}});
    return shown;
}

}  // namespace isosweep
