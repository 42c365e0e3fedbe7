#include "orchestrator/curves.h"

#include <isosweep/text.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "orchestrator/view_parts.h"

namespace isosweep {
namespace {

using Rows = std::vector<std::size_t>;
/// Rows by what they have in common, in the order of the first of each.
using Groups = std::vector<std::pair<std::string, Rows>>;

constexpr std::size_t most_curves = 10;

Groups group_by(const Table& cells, const Rows& rows, const std::vector<std::string>& axes) {
    Groups groups;
    std::unordered_map<std::string, std::size_t> places;
    for (const std::size_t row : rows) {
        const std::string label = cell_label(cells, row, axes);
        const auto [place, is_new] = places.emplace(label, groups.size());
        if (is_new) groups.push_back({label, {}});
        groups[place->second].second.push_back(row);
    }
    return groups;
}

std::vector<std::string> without(std::vector<std::string> axes,
                                 const std::vector<std::string>& left_out) {
    std::erase_if(axes, [&](const std::string& axis) {
        return std::find(left_out.begin(), left_out.end(), axis) != left_out.end();
    });
    return axes;
}

/// Where a row lies along an axis: a model size by its parameters.
std::optional<double> place_along(const Table& cells, std::size_t row, const std::string& axis) {
    return number_at(cells, row, axis == "model_size" ? "num_params" : axis);
}

/// Whether cells that differ in this alone are the same measurement, made again.
bool is_repetition(const std::string& axis) { return axis == "replicate" || axis == "seed"; }

/// How many of the rows are in curves with at least two places along `axis`.
std::size_t rows_in_curves(const Table& cells, const Rows& rows, const std::string& axis,
                           const std::vector<std::string>& varying) {
    std::size_t count = 0;
    for (const auto& [label, members] : group_by(cells, rows, without(varying, {axis}))) {
        std::set<double> places;
        for (const std::size_t row : members) {
            const auto place = place_along(cells, row, axis);
            if (!place) return 0;
            places.insert(*place);
        }
        if (places.size() > 1) count += members.size();
    }
    return count;
}

std::string choose_axis(const Table& cells, const Rows& rows,
                        const std::vector<std::string>& varying) {
    std::vector<std::string> candidates = varying;
    // Of axes that serve as well, the first one; a size is a curve's name where anything else is.
    std::stable_partition(candidates.begin(), candidates.end(),
                          [](const std::string& axis) { return axis != "model_size"; });
    std::string best;
    std::size_t most = 0;
    for (const std::string& axis : candidates) {
        const std::size_t count = rows_in_curves(cells, rows, axis, varying);
        if (count > most) {
            most = count;
            best = axis;
        }
    }
    return best;
}

std::string unit_of(const std::string& axis) {
    if (axis == "model_size") return "by parameters";
    if (axis == "context_length") return "tokens";
    if (axis == "batch_size") return "sequences";
    return {};
}

Abscissa make_abscissa(const Table& cells, const Rows& rows, const std::string& axis) {
    Abscissa abscissa;
    abscissa.column = axis;
    if (axis.empty()) return abscissa;
    abscissa.name =
        axis == "warmup_steps" ? "warm-up steps" : one_line(replace_all(axis, '_', ' '), 40);
    abscissa.unit = unit_of(axis);
    std::map<double, std::string> ticks;
    for (const std::size_t row : rows)
        if (const auto place = place_along(cells, row, axis))
            ticks.emplace(*place, one_line(text_at(cells, row, axis), 20));
    abscissa.ticks.assign(ticks.begin(), ticks.end());
    abscissa.is_logarithmic =
        ticks.begin()->first > 0 && ticks.rbegin()->first > 3 * ticks.begin()->first;
    return abscissa;
}

double median_of(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

bool lacks_memory(const Table& cells, std::size_t row) {
    return text_at(cells, row, "status") == "oom_gpu";
}

Curve make_curve(const Table& cells, const Rows& rows, const Reading& reading,
                 const std::string& axis) {
    struct Replicates {
        std::vector<double> values;
        double low = INFINITY;
        double high = -INFINITY;
    };
    Curve curve;
    std::map<double, Replicates> points;
    std::set<double> out_of_memory;
    for (const std::size_t row : rows) {
        const double x = axis.empty() ? 0 : place_along(cells, row, axis).value_or(0);
        if (lacks_memory(cells, row)) out_of_memory.insert(x);
        auto value = number_at(cells, row, reading.value);
        if (lacks_memory(cells, row) || !value) continue;
        *value /= reading.unit;
        Replicates& point = points[x];
        point.values.push_back(*value);
        const auto low = number_at(cells, row, reading.low);
        const auto high = number_at(cells, row, reading.high);
        point.low = std::min(point.low, low ? *low / reading.unit : *value);
        point.high = std::max(point.high, high ? *high / reading.unit : *value);
    }
    for (const auto& [x, point] : points)
        curve.points.push_back({x, median_of(point.values), point.low, point.high});
    curve.out_of_memory.assign(out_of_memory.begin(), out_of_memory.end());
    return curve;
}

/// The place of a label in a list, to which it is added where it is new.
std::size_t number_of_label(std::vector<std::string>& labels, const std::string& label) {
    const auto found = std::find(labels.begin(), labels.end(), label);
    if (found != labels.end()) return static_cast<std::size_t>(found - labels.begin());
    labels.push_back(label);
    return labels.size() - 1;
}

std::size_t most_curves_in(const Table& cells, const Groups& panels,
                           const std::vector<std::string>& curve_axes) {
    std::size_t most = 0;
    for (const auto& [label, rows] : panels)
        most = std::max(most, group_by(cells, rows, curve_axes).size());
    return most;
}

std::string axis_value(const std::string& axis, const std::string& value) {
    if (axis == "model_size" || axis == "precision" || axis == "kernels") return value;
    if (axis == "pass_type")
        return value == "forward_backward" ? "forward+backward" : replace_all(value, '_', ' ');
    if (axis == "context_length") return "context " + value;
    if (axis == "batch_size") return "batch " + value;
    if (axis == "warmup_steps") return "warm-up " + value;
    return replace_all(axis, '_', ' ') + " " + value;
}

}  // namespace

std::vector<std::size_t> all_rows_of(const Table& cells) {
    Rows rows(cells.row_count());
    for (std::size_t row = 0; row < rows.size(); ++row) rows[row] = row;
    return rows;
}

std::vector<std::string> varying_axes(const Table& cells, const Rows& rows) {
    std::vector<std::string> varying;
    for (const std::string& axis : axis_columns(cells)) {
        if (!cells.has_column(axis)) continue;
        const bool varies = std::any_of(rows.begin(), rows.end(), [&](std::size_t row) {
            return text_at(cells, row, axis) != text_at(cells, rows.front(), axis);
        });
        if (varies) varying.push_back(axis);
    }
    return varying;
}

std::string cell_label(const Table& cells, std::size_t row, const std::vector<std::string>& axes) {
    std::vector<std::string> parts;
    for (const std::string& axis : axes)
        if (const std::string value = text_at(cells, row, axis); !value.empty())
            parts.push_back(axis_value(axis, value));
    return one_line(join(parts, ", "), 120);
}

std::vector<Panel> make_panels(const Table& cells, const Reading& reading) {
    Rows rows;
    bool any = false;
    for (const std::size_t row : all_rows_of(cells)) {
        const bool is_measured = number_at(cells, row, reading.value).has_value();
        any = any || (is_measured && !lacks_memory(cells, row));
        if (is_measured || lacks_memory(cells, row)) rows.push_back(row);
    }
    if (!any) return {};
    std::vector<std::string> varying = varying_axes(cells, rows);
    std::erase_if(varying, is_repetition);
    std::vector<std::string> panel_axes = {"pass_type"};
    const std::vector<std::string> within = without(varying, panel_axes);
    const std::string axis = choose_axis(cells, rows, varying);
    std::vector<std::string> curve_axes = without(within, {axis});
    Groups groups = group_by(cells, rows, panel_axes);
    for (const std::string& further : without(curve_axes, {"model_size"})) {
        if (axis.empty() || most_curves_in(cells, groups, curve_axes) <= most_curves) break;
        panel_axes.push_back(further);
        curve_axes = without(curve_axes, {further});
        groups = group_by(cells, rows, panel_axes);
    }
    std::vector<Panel> panels;
    std::vector<std::string> sizes;
    std::vector<std::string> others;
    const bool has_sizes =
        std::find(curve_axes.begin(), curve_axes.end(), "model_size") != curve_axes.end();
    for (const auto& [label, members] : groups) {
        Panel panel{label, make_abscissa(cells, members, axis), {}};
        for (const auto& [name, of_curve] : group_by(cells, members, curve_axes)) {
            Curve curve = make_curve(cells, of_curve, reading, axis);
            const std::size_t row = of_curve.front();
            const std::size_t other = number_of_label(
                others, cell_label(cells, row, without(curve_axes, {"model_size"})));
            curve.label = name;
            curve.mark = other;
            curve.color =
                has_sizes ? number_of_label(sizes, text_at(cells, row, "model_size")) : other;
            if (axis.empty()) {
                const auto place = static_cast<double>(panel.curves.size() + 1);
                for (CurvePoint& point : curve.points) point.x = place;
                for (double& x : curve.out_of_memory) x = place;
                panel.abscissa.ticks.emplace_back(place, name);
            }
            panel.curves.push_back(std::move(curve));
        }
        const bool is_drawable =
            std::any_of(panel.curves.begin(), panel.curves.end(),
                        [](const Curve& curve) { return !curve.points.empty(); });
        if (is_drawable && panel.abscissa.ticks.size() > 1) panels.push_back(std::move(panel));
    }
    return panels;
}

}  // namespace isosweep
