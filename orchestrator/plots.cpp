#include "orchestrator/plots.h"

#include <isosweep/statistics.h>
#include <isosweep/text.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <cmath>
#include <iterator>
#include <map>
#include <set>

#include "orchestrator/curves.h"
#include "orchestrator/memory_view.h"
#include "orchestrator/view_parts.h"

namespace isosweep {
namespace {

using Rows = std::vector<std::size_t>;

constexpr double gibibyte = 1024.0 * 1024 * 1024;

/// "12.3", "0.0123", "1013": three figures, as a person reads a number in a sentence.
std::string short_number(double value) {
    if (value == 0 || std::fabs(value) >= 1000) return format_fixed(value, 0);
    const int decimals =
        std::clamp(2 - static_cast<int>(std::floor(std::log10(std::fabs(value)))), 0, 6);
    std::string text = format_fixed(value, decimals);
    if (text.find('.') != std::string::npos) {
        text.resize(text.find_last_not_of('0') + 1);
        if (text.ends_with('.')) text.pop_back();
    }
    return text;
}

/// A part of a file's name.
std::string file_part(const std::string& label) {
    std::string part;
    for (const char c : label) {
        const bool is_plain =
            ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9');
        if (is_plain)
            part += c;
        else if (!part.empty() && part.back() != '_')
            part += '_';
    }
    while (part.ends_with('_')) part.pop_back();
    return part.substr(0, 60);
}

/// "a; b; c and 4 more", at most `most` parts.
std::string some_of(std::vector<std::string> parts, std::size_t most) {
    const std::size_t more = parts.size() > most ? parts.size() - most : 0;
    if (more > 0) parts.resize(most);
    return join(parts, "; ") + (more > 0 ? "; and " + std::to_string(more) + " more" : "");
}

std::string of_ink(const PlotColor& color) { return " textcolor " + gnuplot_color(color); }

/// What all plots have in common: the title at the upper left, thin axes at the left and below, a
/// legend below the plot.
std::string preamble(const std::string& title) {
    return "set label " + gnuplot_text(title, 80) +
           " at screen 0.02, screen 1 offset 0,-1.2 left font ',15'" + of_ink(ink_color) +
           "\nset tmargin 3.2\nset border 3 lc " + gnuplot_color(faint_color) +
           "\nset tics nomirror" + of_ink(ink_color) + "\nset grid y lt 1 lw 1 lc " +
           gnuplot_color(grid_color) +
           "\nset key outside bottom center horizontal Left reverse samplen 2.4 spacing 1.3 height "
           "0.6 noenhanced" +
           of_ink(ink_color) + "\n";
}

std::string axis_label(const std::string& axis, std::string label) {
    if (!label.empty() && 'a' <= label[0] && label[0] <= 'z')
        label[0] = static_cast<char>(label[0] - 'a' + 'A');
    return "set " + axis + "label " + gnuplot_text(label) + (axis == "x" ? " offset 0,0.3" : "") +
           of_ink(ink_color) + "\n";
}

/// "set ytics ('1' 1, '2' 2)".
std::string set_ticks(const std::string& axis,
                      const std::vector<std::pair<double, std::string>>& ticks) {
    std::vector<std::string> words;
    for (const auto& [place, label] : ticks)
        words.push_back(gnuplot_text(label, 44) + " " + format_exact(place));
    return "set " + axis + "tics (" + join(words, ", ") + ")\n";
}

/// Every one of `ticks` that leaves room for its label.
std::vector<std::pair<double, std::string>> thinned(
    const std::vector<std::pair<double, std::string>>& ticks, std::size_t most) {
    const std::size_t step = (ticks.size() + most - 1) / most;
    std::vector<std::pair<double, std::string>> kept;
    for (std::size_t i = 0; i < ticks.size(); i += std::max<std::size_t>(step, 1))
        kept.push_back(ticks[i]);
    return kept;
}

/// The smallest and the largest of the values that an axis has to show.
struct Extent {
    double low = INFINITY;
    double high = -INFINITY;

    void include(double value) {
        low = std::min(low, value);
        high = std::max(high, value);
    }
};

std::string set_range(const std::string& axis, double low, double high) {
    return "set " + axis + "range [" + format_exact(low) + ":" + format_exact(high) + "]\n";
}

/// A logarithmic axis with ticks at 1, 2 and 5 times the powers of ten.
std::string logarithmic_axis(const std::string& axis, const Extent& extent) {
    const double high = std::max(extent.high, 1e-9) * 1.25;
    const double low = std::max(extent.low / 1.25, 1e-9 * high);
    std::vector<std::pair<double, std::string>> ticks;
    const bool is_wide = high > 2000 * low;
    for (int power = static_cast<int>(std::floor(std::log10(low))); std::pow(10, power) <= high;
         ++power)
        for (const double factor : {1.0, 2.0, 5.0})
            if (const double value = factor * std::pow(10, power);
                value >= low && value <= high && (factor == 1 || !is_wide))
                ticks.emplace_back(value, short_number(value));
    return "set logscale " + axis + "\n" + set_range(axis, low, high) + set_ticks(axis, ticks);
}

/// Logarithmic where the values span much, else from zero.
std::string value_axis(const Extent& extent) {
    if (extent.low > 0 && extent.high > 4 * extent.low) return logarithmic_axis("y", extent);
    return set_range("y", std::min(0.0, 1.1 * extent.low), 1.1 * std::max(extent.high, 1e-9));
}

/// Columns of a legend with these labels below a plot of such a width, in pixels.
std::size_t legend_columns(const std::vector<std::string>& labels, std::size_t width) {
    std::size_t longest = 0;
    for (const std::string& label : labels) longest = std::max(longest, label.size());
    return std::max<std::size_t>(1, width / (longest * 7 + 50));
}

/// Pixels that it takes.
int legend_height(const std::vector<std::string>& labels, std::size_t width = 600) {
    const std::size_t columns = legend_columns(labels, width);
    return static_cast<int>(22 * ((labels.size() + columns - 1) / columns));
}

PlotColor color_of(std::size_t number) { return series_colors[number % series_colors.size()]; }

/// How a curve looks: colour by its size, point and dashes by whatever else varies.
std::string style_of(const Curve& curve) {
    constexpr std::array<int, 7> points = {7, 9, 5, 13, 6, 8, 4};
    return " lc " + gnuplot_color(color_of(curve.color)) + " lw 2 dt " +
           std::to_string(curve.mark % 5 + 1) + " pt " +
           std::to_string(points[curve.mark % points.size()]) + " ps 0.9";
}

std::string data_block(const std::string& name, const std::vector<std::vector<double>>& lines) {
    std::string block = "$" + name + " << END\n";
    for (const std::vector<double>& line : lines) {
        std::vector<std::string> words;
        for (const double number : line) words.push_back(format_exact(number));
        block += join(words, " ") + "\n";
    }
    return block + "END\n";
}

// --- step time, MFU, memory ---------------------------------------------------------------------

/// What a plot of curves is about.
struct CurvePlot {
    std::string name;
    std::string title;
    std::string quantity;  ///< "Median step time"
    std::string unit;      ///< "ms"
    std::string caption;
};

std::string abscissa_commands(const Panel& panel) {
    const auto& ticks = panel.abscissa.ticks;
    const std::string& unit = panel.abscissa.unit;
    std::string text = axis_label("x", panel.abscissa.name + (unit.empty() ? "" : ", " + unit));
    const double low = ticks.front().first;
    const double high = ticks.back().first;
    if (panel.abscissa.is_logarithmic) {
        const double room = std::pow(high / low, 0.06);
        text += "set logscale x\n" + set_range("x", low / room, high * room);
    } else {
        const double room = std::max(0.06 * (high - low), 1e-9);
        text += set_range("x", low - room, high + room);
    }
    if (panel.abscissa.column.empty())
        text += "set xtics rotate by -25 left\n" + set_ticks("x", ticks);
    else
        text += set_ticks("x", thinned(ticks, 9));
    return text;
}

std::string describe_curve(const Curve& curve, const Panel& panel, const std::string& unit) {
    const auto at = [&](double x) {
        for (const auto& [place, label] : panel.abscissa.ticks)
            if (place == x) return panel.abscissa.column.empty() ? "" : " at " + label;
        return std::string();
    };
    std::string text = curve.label.empty() ? "" : curve.label + ": ";
    if (!curve.points.empty()) {
        const CurvePoint& first = curve.points.front();
        const CurvePoint& last = curve.points.back();
        text += short_number(first.y) + " " + unit + at(first.x);
        if (last.x != first.x) text += ", " + short_number(last.y) + " " + unit + at(last.x);
    }
    std::vector<std::string> places;
    for (const double x : curve.out_of_memory) places.push_back(at(x));
    if (!places.empty())
        text += std::string(curve.points.empty() ? "" : ", ") + "out of memory" + join(places, ",");
    return text;
}

std::string describe_panel(const Panel& panel, const CurvePlot& about) {
    std::vector<std::string> curves;
    for (const Curve& curve : panel.curves)
        if (!curve.points.empty() || !curve.out_of_memory.empty())
            curves.push_back(describe_curve(curve, panel, about.unit));
    const std::string along = panel.abscissa.column.empty() ? "" : " by " + panel.abscissa.name;
    return about.quantity + along + ". " + some_of(curves, 10) + ".";
}

/// The curves of a panel as data and as what `plot` draws of them.
struct CurveCommands {
    std::string data;
    std::vector<std::string> items;
    std::vector<std::string> legend;
};

CurveCommands curve_commands(const Panel& panel) {
    CurveCommands commands;
    for (std::size_t i = 0; i < panel.curves.size(); ++i) {
        const Curve& curve = panel.curves[i];
        if (curve.points.empty()) continue;
        const std::string name = "curve" + std::to_string(i);
        std::vector<std::vector<double>> lines;
        bool has_intervals = false;
        for (const CurvePoint& point : curve.points) {
            lines.push_back({point.x, point.y, point.low, point.high});
            has_intervals = has_intervals || point.low < point.high;
        }
        commands.data += data_block(name, lines);
        const bool is_named = !curve.label.empty() && !panel.abscissa.column.empty();
        // Not gnuplot's yerrorbars: these wipe out what is behind their middle.
        if (has_intervals)
            commands.items.push_back("$" + name +
                                     " using 1:3:(0):($4-$3) with vectors heads size "
                                     "graph 0.008,90 lw 1.3 lc " +
                                     gnuplot_color(color_of(curve.color)) + " notitle");
        commands.items.push_back("$" + name + " using 1:2 with linespoints" + style_of(curve) +
                                 (is_named ? " title " + gnuplot_text(curve.label) : " notitle"));
        if (is_named) commands.legend.push_back(curve.label);
    }
    return commands;
}

Plot curve_plot(const Panel& panel, const CurvePlot& about, const std::string& y_commands,
                const CurveCommands& curves) {
    Plot plot;
    plot.name = about.name + (panel.label.empty() ? "" : "_" + file_part(panel.label));
    plot.title = about.title + (panel.label.empty() ? "" : ": " + panel.label);
    plot.caption = about.caption;
    plot.description = describe_panel(panel, about);
    plot.height = 370 + legend_height(curves.legend) + (panel.abscissa.column.empty() ? 60 : 0);
    plot.commands = preamble(plot.title) + axis_label("y", about.quantity + ", " + about.unit) +
                    abscissa_commands(panel) + y_commands + curves.data + "plot " +
                    join(curves.items, ", \\\n     ") + "\n";
    return plot;
}

Extent extent_of(const Panel& panel) {
    Extent extent;
    for (const Curve& curve : panel.curves)
        for (const CurvePoint& point : curve.points) {
            extent.include(point.low);
            extent.include(point.high);
        }
    return extent;
}

std::vector<Plot> step_time_plots(const Table& cells) {
    std::vector<Plot> plots;
    const Reading reading = {"median_time_ms", "median_ci_low_ms", "median_ci_high_ms"};
    const CurvePlot about = {
        "step_time", "Step time", "Median step time", "ms",
        "Median of the measured steps; the bars are its 95 % interval (many are smaller than the "
        "point). Less is better."};
    for (const Panel& panel : make_panels(cells, reading))
        plots.push_back(
            curve_plot(panel, about, value_axis(extent_of(panel)), curve_commands(panel)));
    return plots;
}

std::vector<Plot> utilisation_plots(const Table& cells) {
    std::vector<Plot> plots;
    const CurvePlot about = {
        "mfu", "Model FLOPs utilisation", "MFU", "%",
        "FLOPs of the model's matrix products over median step time and the GPU's peak at this "
        "precision. More is better."};
    for (const Panel& panel : make_panels(cells, {"mfu_percent"})) {
        const double top = std::min(1.15 * extent_of(panel).high, 105.0);
        plots.push_back(curve_plot(panel, about, set_range("y", 0, top), curve_commands(panel)));
    }
    return plots;
}

/// Cells that lacked memory, on the line of what there is, one above the other.
void add_out_of_memory(CurveCommands& commands, const Panel& panel, double room) {
    std::map<double, int> marks;
    for (std::size_t i = 0; i < panel.curves.size(); ++i) {
        const Curve& curve = panel.curves[i];
        if (curve.out_of_memory.empty()) continue;
        std::vector<std::vector<double>> lines;
        for (const double x : curve.out_of_memory)
            lines.push_back({x, room * std::pow(1.16, marks[x]++)});
        const std::string name = "lacking" + std::to_string(i);
        commands.data += data_block(name, lines);
        const bool is_unnamed =
            curve.points.empty() && !curve.label.empty() && !panel.abscissa.column.empty();
        const std::string label = curve.label + (is_unnamed ? ": out of memory" : "");
        commands.items.push_back("$" + name + " using 1:2 with points pt 2 ps 1.3 lw 2.5 lc " +
                                 gnuplot_color(color_of(curve.color)) +
                                 (is_unnamed ? " title " + gnuplot_text(label) : " notitle"));
        if (is_unnamed) commands.legend.push_back(label);
    }
    if (marks.empty()) return;
    commands.items.push_back("NaN with points pt 2 ps 1.3 lw 2.5 lc " + gnuplot_color(faint_color) +
                             " title 'out of memory'");
    commands.legend.emplace_back("out of memory");
}

/// How much memory the cells of a sweep may take, in GiB; not all may take the same.
std::set<double> memory_rooms(const Table& memory) {
    std::set<double> rooms;
    for (const std::size_t row : all_rows_of(memory))
        if (const auto room = number_at(memory, row, "memory_room_bytes"))
            rooms.insert(*room / gibibyte);
    return rooms;
}

std::vector<Plot> memory_plots(const Table& cells) {
    std::vector<Plot> plots;
    const Table memory = memory_rows(cells);
    const std::set<double> rooms = memory_rooms(memory);
    const double room = rooms.empty() ? 0 : *rooms.rbegin();
    CurvePlot about = {"memory", "Peak memory", "Peak allocated memory", "GiB",
                       "What tensors held at the peak of a step."};
    if (room > 0)
        about.caption +=
            std::string(rooms.size() > 1 ? " The dashed line is the most that a cell may take, "
                                         : " The dashed line is what a cell may take, ") +
            short_number(room) + " GiB.";
    for (const Panel& panel : make_panels(memory, {"peak_allocated_bytes", {}, {}, gibibyte})) {
        CurveCommands commands = curve_commands(panel);
        Extent extent = extent_of(panel);
        std::size_t stacked = 0;
        if (room > 0) {
            extent.include(room);
            for (const Curve& curve : panel.curves)
                if (!curve.out_of_memory.empty()) ++stacked;
            extent.include(room * std::pow(1.16, static_cast<double>(stacked)));
            add_out_of_memory(commands, panel, room);
            commands.items.push_back(format_exact(room) + " with lines dt 2 lw 1.5 lc " +
                                     gnuplot_color(faint_color) + " title 'capacity'");
            commands.legend.emplace_back("capacity");
        }
        Plot plot = curve_plot(panel, about, logarithmic_axis("y", extent), commands);
        if (room > 0) plot.description += " Capacity: " + short_number(room) + " GiB.";
        if (stacked > 0)
            plot.caption +=
                " A cross is a cell that ran out of memory: it asked for more than the line, and "
                "nobody knows how much more.";
        plots.push_back(std::move(plot));
    }
    return plots;
}

// --- warm-up ------------------------------------------------------------------------------------

/// A cell's steps from the first on, each over the median of the measured ones.
struct WarmupCurve {
    std::string label;
    std::string panel;  ///< pass type
    std::vector<double> ratios;
    std::size_t warmup_steps = 0;  ///< of these, not measured
    double coldness = 0;           ///< the largest ratio
};

/// The curves with those that begin slowest first: `most` of them, each of both parts in its order.
std::vector<WarmupCurve> coldest_first(std::vector<WarmupCurve> curves, std::size_t most) {
    if (curves.size() <= most) return curves;
    std::vector<double> coldness;
    for (const WarmupCurve& curve : curves) coldness.push_back(curve.coldness);
    std::sort(coldness.rbegin(), coldness.rend());
    std::stable_partition(curves.begin(), curves.end(), [&](const WarmupCurve& curve) {
        return curve.coldness >= coldness[most - 1];
    });
    return curves;
}

std::vector<double> numbers_in(const boost::json::object& holder, std::string_view name) {
    std::vector<double> numbers;
    const boost::json::value* const values = holder.if_contains(name);
    if (values && values->is_array())
        for (const boost::json::value& value : values->get_array())
            if (value.is_number()) numbers.push_back(value.to_number<double>());
    return numbers;
}

std::vector<WarmupCurve> warmup_curves(const Table& cells, const Journal& journal) {
    std::vector<std::string> axes = varying_axes(cells, all_rows_of(cells));
    std::erase(axes, "pass_type");
    std::vector<WarmupCurve> curves;
    for (const std::size_t row : all_rows_of(cells)) {
        const CellHistory& history = journal.history(text_at(cells, row, "key"));
        if (!history.recorded) continue;
        const boost::json::object measurement =
            journal.attempt(*history.recorded).outcome.measurement;
        const std::vector<double> samples = numbers_in(measurement, "samples_ms");
        const auto statistics = summarize(samples);
        if (!statistics || statistics->median <= 0) continue;
        WarmupCurve curve;
        curve.label = cell_label(cells, row, axes);
        curve.panel = cell_label(cells, row, {"pass_type"});
        std::vector<double> steps = numbers_in(measurement, "warmup_ms");
        curve.warmup_steps = steps.size();
        steps.insert(steps.end(), samples.begin(), samples.end());
        for (const double step : steps) {
            curve.ratios.push_back(std::max(step, 1e-6) / statistics->median);
            curve.coldness = std::max(curve.coldness, curve.ratios.back());
        }
        curves.push_back(std::move(curve));
    }
    return curves;
}

Plot warmup_plot(const std::string& panel, std::vector<WarmupCurve> curves) {
    // Without the grey of the palette, since the others are grey.
    constexpr std::size_t most_named = series_colors.size() - 1;
    curves = coldest_first(std::move(curves), most_named);
    Plot plot;
    plot.name = "warmup_" + file_part(panel);
    plot.title = "Warm-up: " + panel;
    std::string data;
    std::vector<std::string> background;
    std::vector<std::string> foreground;
    std::vector<std::string> legend;
    std::vector<std::string> described;
    Extent extent;
    std::size_t longest = 0;
    std::set<std::size_t> warmup_steps;
    for (std::size_t i = 0; i < curves.size(); ++i) {
        std::vector<std::vector<double>> lines;
        for (const double ratio : curves[i].ratios) {
            lines.push_back({static_cast<double>(lines.size() + 1), ratio});
            extent.include(ratio);
        }
        longest = std::max(longest, lines.size());
        warmup_steps.insert(curves[i].warmup_steps);
        const std::string name = "steps" + std::to_string(i);
        data += data_block(name, lines);
        if (i >= most_named) {
            background.push_back("$" + name + " using 1:2 with lines lw 1 lc " +
                                 gnuplot_color(faint_color) + " notitle");
            continue;
        }
        const std::string& label = curves[i].label;
        foreground.push_back("$" + name + " using 1:2 with linespoints pt 7 ps 0.5 lw 1.5 lc " +
                             gnuplot_color(color_of(i)) +
                             (label.empty() ? " notitle" : " title " + gnuplot_text(label)));
        if (!label.empty()) legend.push_back(label);
        described.push_back((label.empty() ? "the first step" : label) + ": " +
                            short_number(curves[i].ratios.front()) + " times");
    }
    plot.caption =
        "Every step of a cell over the median of its measured steps, in the order they ran: 1 is "
        "the steady state.";
    if (curves.size() > most_named)
        plot.caption += " In colour the " + std::to_string(most_named) +
                        " cells that begin slowest, in grey the other " +
                        std::to_string(curves.size() - most_named) + ".";
    std::string boundary;
    if (warmup_steps.size() == 1 && *warmup_steps.begin() > 0) {
        const double at = static_cast<double>(*warmup_steps.begin()) + 0.5;
        boundary = "set arrow from " + format_exact(at) + ", graph 0 to " + format_exact(at) +
                   ", graph 1 nohead dt 2 lc " + gnuplot_color(faint_color) + "\n";
        plot.caption += " What is measured begins behind the dashed line.";
    }
    plot.description = "Step time over its steady median, by step. The first step takes, " +
                       some_of(described, most_named) + ".";
    plot.height = 350 + legend_height(legend);
    background.insert(background.end(), foreground.begin(), foreground.end());
    plot.commands = preamble(plot.title) + axis_label("x", "Step, from the worker's first") +
                    axis_label("y", "Step time / steady median") + boundary +
                    set_range("x", 0.5, static_cast<double>(longest) + 0.5) +
                    logarithmic_axis("y", extent) + data + "plot " +
                    join(background, ", \\\n     ") + "\n";
    return plot;
}

std::vector<Plot> warmup_plots(const Table& cells, const Journal& journal) {
    std::vector<Plot> plots;
    std::vector<std::pair<std::string, std::vector<WarmupCurve>>> panels;
    for (WarmupCurve& curve : warmup_curves(cells, journal)) {
        if (curve.ratios.size() < 3) continue;
        auto found = std::find_if(panels.begin(), panels.end(),
                                  [&](const auto& panel) { return panel.first == curve.panel; });
        if (found == panels.end()) found = panels.insert(panels.end(), {curve.panel, {}});
        found->second.push_back(std::move(curve));
    }
    for (auto& [panel, curves] : panels) plots.push_back(warmup_plot(panel, std::move(curves)));
    return plots;
}

// --- phases -------------------------------------------------------------------------------------

struct Phase {
    std::string name;
    std::string column;
    PlotColor color;
};

/// Pixels of a bar with its distance from the next.
constexpr int bar_height = 22;

/// What is left of the width beside the labels of bars.
constexpr std::size_t bars_width = 300;

/// Horizontal bars: labels from the top down, room for them to the left.
std::string bar_axis(const std::vector<std::string>& labels,
                     const std::vector<std::string>& legend) {
    std::vector<std::pair<double, std::string>> ticks;
    for (std::size_t i = 0; i < labels.size(); ++i)
        ticks.emplace_back(static_cast<double>(i), labels[i]);
    return "set grid noy\nset grid x lt 1 lw 1 lc " + gnuplot_color(grid_color) +
           "\nset grid back\n" + set_range("y", static_cast<double>(labels.size()) - 0.4, -0.6) +
           set_ticks("y", ticks) + "set ytics scale 0 font ',11'\nset key maxcols " +
           std::to_string(legend_columns(legend, bars_width)) + "\n";
}

std::vector<Plot> phase_plots(const Table& cells) {
    constexpr std::size_t most_bars = 40;
    const std::vector<Phase> phases = {{"forward", "forward_mean_ms", series_colors[0]},
                                       {"backward", "backward_mean_ms", series_colors[1]},
                                       {"optimizer", "optimizer_mean_ms", series_colors[2]}};
    Rows rows;
    for (const std::size_t row : all_rows_of(cells))
        if (number_at(cells, row, "forward_mean_ms") && number_at(cells, row, "backward_mean_ms"))
            rows.push_back(row);
    if (rows.empty()) return {};
    const std::size_t measured = rows.size();
    if (rows.size() > most_bars) rows.resize(most_bars);
    const std::vector<std::string> axes = varying_axes(cells, rows);
    std::vector<std::string> labels;
    std::vector<std::string> described;
    std::vector<std::vector<std::vector<double>>> boxes(phases.size());
    std::string texts;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        double total = 0;
        for (const Phase& phase : phases)
            total += number_at(cells, rows[i], phase.column).value_or(0);
        const std::string label = cell_label(cells, rows[i], axes);
        labels.push_back(label.empty() ? text_at(cells, rows[i], "model_size") : label);
        std::vector<std::string> parts;
        double from = 0;
        const auto place = static_cast<double>(i);
        for (std::size_t p = 0; p < phases.size(); ++p) {
            const auto time = number_at(cells, rows[i], phases[p].column);
            if (!time || total <= 0) continue;
            const double share = 100 * *time / total;
            boxes[p].push_back(
                {from + share / 2, place, from, from + share, place - 0.38, place + 0.38});
            if (share >= 14)
                texts += "set label " + gnuplot_text(format_fixed(share, 0) + " %") + " at " +
                         format_exact(from + share / 2) + "," + format_exact(place) +
                         " center front font ',11'" + of_ink(on_color_text) + "\n";
            parts.push_back(phases[p].name + " " + format_fixed(share, 0) + " %");
            from += share;
        }
        texts += "set label " + gnuplot_text(short_number(total) + " ms") + " at 101.5," +
                 format_exact(place) + " left font ',11'" + of_ink(ink_color) + "\n";
        described.push_back(labels.back() + ": " + join(parts, ", "));
    }
    Plot plot;
    plot.name = "phases";
    plot.title = "Where a step's time goes";
    plot.caption =
        "Shares of the mean times of forward pass, backward pass and optimizer; at the "
        "right what they add up to.";
    if (measured > most_bars)
        plot.caption += " The first " + std::to_string(most_bars) + " of " +
                        std::to_string(measured) + " cells.";
    plot.description = "Shares of a step's phases. " + some_of(described, 12) + ".";
    plot.height = 160 + bar_height * static_cast<int>(rows.size());
    std::vector<std::string> legend;
    for (const Phase& phase : phases) legend.push_back(phase.name);
    plot.commands = preamble(plot.title) + bar_axis(labels, legend) + set_range("x", 0, 100) +
                    axis_label("x", "% of the step") + "set rmargin 10\n" + texts;
    std::vector<std::string> items;
    for (std::size_t p = 0; p < phases.size(); ++p) {
        if (boxes[p].empty()) continue;
        plot.commands += data_block(phases[p].name, boxes[p]);
        items.push_back("$" + phases[p].name + " using 1:2:3:4:5:6 with boxxyerror lc " +
                        gnuplot_color(phases[p].color) + " fs solid 1 noborder title '" +
                        phases[p].name + "'");
    }
    plot.commands += "plot " + join(items, ", \\\n     ") + "\n";
    return {plot};
}

// --- timeline -----------------------------------------------------------------------------------

/// Ways to end that a timeline tells apart.
enum class EndKind { ok, out_of_memory, timeout, failure, unsupported, interrupted };

EndKind kind_of(Status status) {
    switch (status) {
        case Status::ok:
            return EndKind::ok;
        case Status::oom_gpu:
        case Status::oom_host:
            return EndKind::out_of_memory;
        case Status::timeout:
            return EndKind::timeout;
        case Status::unsupported:
            return EndKind::unsupported;
        case Status::crash:
        case Status::error:
        case Status::invalid_result:
        case Status::spawn_failed:
            return EndKind::failure;
        case Status::interrupted:
        case Status::skipped:
        case Status::not_run:
            return EndKind::interrupted;
    }
    return EndKind::interrupted;
}

struct EndLook {
    std::string name;
    PlotColor color;
};

EndLook look_of(EndKind kind) {
    switch (kind) {
        case EndKind::ok:
            return {"ok", series_colors[0]};
        case EndKind::out_of_memory:
            return {"out of memory", series_colors[4]};
        case EndKind::timeout:
            return {"timeout", series_colors[3]};
        case EndKind::failure:
            return {"crash or error", series_colors[1]};
        case EndKind::unsupported:
            return {"unsupported", series_colors[5]};
        case EndKind::interrupted:
            return {"interrupted", series_colors[6]};
    }
    return {};
}

/// An attempt on a clock that stands still between runs.
struct Bar {
    std::size_t lane = 0;
    double begin_ms = 0;
    double end_ms = 0;
    Status status = Status::ok;
    bool is_final = true;  ///< it is the cell's outcome
};

struct Timeline {
    std::vector<std::string> keys;  ///< of the lanes
    std::vector<Bar> bars;
    std::vector<double> pauses;  ///< where the clock stood
    double paused_ms = 0;
    double length_ms = 0;
};

Timeline make_timeline(const std::set<std::string>& keys, const Journal& journal) {
    std::vector<const AttemptSpan*> spans;
    for (const AttemptSpan& span : journal.spans())
        if (keys.contains(std::string(span.key)) && span.status != Status::skipped)
            spans.push_back(&span);
    std::stable_sort(spans.begin(), spans.end(), [](const AttemptSpan* a, const AttemptSpan* b) {
        return a->start_ms < b->start_ms;
    });
    double busy = 0;
    for (const AttemptSpan* span : spans) busy += static_cast<double>(span->elapsed_ms);
    const double longest_pause = std::max(60'000.0, busy / 10);
    Timeline timeline;
    std::map<std::string, std::size_t> lanes;
    double now = spans.empty() ? 0 : static_cast<double>(spans.front()->start_ms);
    double origin = now;
    for (const AttemptSpan* span : spans) {
        const auto start = static_cast<double>(span->start_ms);
        if (start - now > longest_pause) {
            timeline.pauses.push_back(now - origin);
            timeline.paused_ms += start - now;
            origin += start - now;
        }
        const auto [lane, is_new] = lanes.emplace(span->key, lanes.size());
        if (is_new) timeline.keys.emplace_back(span->key);
        const double end = start + static_cast<double>(span->elapsed_ms);
        timeline.bars.push_back({lane->second, start - origin, end - origin, span->status,
                                 span->decision == Decision::record});
        now = std::max(now, end);
    }
    timeline.length_ms = now - origin;
    return timeline;
}

std::vector<Plot> timeline_plots(const Table& cells, const Journal& journal) {
    std::map<std::string, std::size_t> rows;
    std::set<std::string> keys;
    for (const std::size_t row : all_rows_of(cells)) {
        rows[text_at(cells, row, "key")] = row;
        keys.insert(text_at(cells, row, "key"));
    }
    const Timeline timeline = make_timeline(keys, journal);
    if (timeline.bars.empty()) return {};
    const std::vector<std::string> axes = varying_axes(cells, all_rows_of(cells));
    const bool is_labelled = timeline.keys.size() <= 60;
    std::vector<std::string> labels;
    for (const std::string& key : timeline.keys) {
        const std::string label = cell_label(cells, rows.at(key), axes);
        labels.push_back(!is_labelled ? "" : label.empty() ? key : label);
    }
    const auto [unit_ms, unit] = timeline.length_ms > 3 * 3600e3 ? std::pair(3600e3, "Hours")
                                 : timeline.length_ms > 5 * 60e3 ? std::pair(60e3, "Minutes")
                                                                 : std::pair(1e3, "Seconds");
    std::map<std::pair<EndKind, bool>, std::vector<std::vector<double>>> boxes;
    std::map<Status, int> counts;
    int retries = 0;
    for (const Bar& bar : timeline.bars) {
        const auto lane = static_cast<double>(bar.lane);
        const double begin = bar.begin_ms / unit_ms;
        const double end = bar.end_ms / unit_ms;
        boxes[{kind_of(bar.status), bar.is_final}].push_back(
            {(begin + end) / 2, lane, begin, end, lane - 0.36, lane + 0.36});
        if (bar.is_final)
            ++counts[bar.status];
        else
            ++retries;
    }
    Plot plot;
    plot.name = "timeline";
    plot.title = "Timeline of the sweep";
    plot.caption =
        "Every attempt at a cell, the start of its process included; cells in the order "
        "of their first start.";
    if (retries > 0) plot.caption += " A hollow bar is an attempt that was made again.";
    if (!timeline.pauses.empty())
        plot.caption += " At a dashed line nothing ran; left out are " +
                        format_duration(timeline.paused_ms) + ".";
    std::vector<std::string> ends;
    for (const auto& [status, count] : counts)
        ends.push_back(std::to_string(count) + " " + std::string(to_name(status)));
    plot.description = std::to_string(timeline.bars.size()) + " attempts at " +
                       std::to_string(timeline.keys.size()) +
                       (timeline.keys.size() == 1 ? " cell within " : " cells within ") +
                       format_duration(timeline.length_ms) + ": " + join(ends, ", ") +
                       (retries > 0 ? ", and " + std::to_string(retries) + " made again" : "") +
                       ".";
    std::vector<std::string> legend;
    for (const auto& [how, lines] : boxes)
        legend.push_back(look_of(how.first).name + (how.second ? "" : ", made again"));
    const int lane_height =
        is_labelled ? 18 : std::max(1, std::min(12, 900 / static_cast<int>(timeline.keys.size())));
    plot.height = 140 + lane_height * static_cast<int>(timeline.keys.size()) +
                  legend_height(legend, bars_width);
    plot.commands = preamble(plot.title) + bar_axis(labels, legend) +
                    set_range("x", 0, std::max(timeline.length_ms / unit_ms, 1e-3)) +
                    axis_label("x", std::string(unit) + " since the first start");
    for (const double pause : timeline.pauses) {
        const std::string at = format_exact(pause / unit_ms);
        plot.commands += "set arrow from " + at + ", graph 0 to " + at +
                         ", graph 1 nohead dt 2 lc " + gnuplot_color(faint_color) + "\n";
    }
    std::vector<std::string> items;
    for (const auto& [how, lines] : boxes) {
        const std::string block = "ends" + std::to_string(items.size());
        plot.commands += data_block(block, lines);
        const std::string color = gnuplot_color(look_of(how.first).color);
        items.push_back("$" + block + " using 1:2:3:4:5:6 with boxxyerror lc " + color +
                        " lw 1.2 " +
                        (how.second ? "fs solid 1 border lc " : "fs empty border lc ") + color +
                        " title " + gnuplot_text(legend[items.size()]));
    }
    plot.commands += "plot " + join(items, ", \\\n     ") + "\n";
    return {plot};
}

/// Adds plots of one kind, as many as somebody looks at.
void add_some(std::vector<Plot>& plots, std::vector<Plot> more) {
    constexpr std::size_t most = 12;
    if (more.size() > most) {
        const std::string left_out = std::to_string(more.size() - most);
        more.resize(most);
        more.back().caption +=
            " Left out are " + left_out + " more of this kind, for the other values of the axes.";
    }
    plots.insert(plots.end(), std::make_move_iterator(more.begin()),
                 std::make_move_iterator(more.end()));
}

}  // namespace

std::vector<Plot> make_plots(const Table& cells, const Journal* journal) {
    std::vector<Plot> plots;
    add_some(plots, step_time_plots(cells));
    add_some(plots, utilisation_plots(cells));
    add_some(plots, memory_plots(cells));
    if (journal) add_some(plots, warmup_plots(cells, *journal));
    add_some(plots, phase_plots(cells));
    if (journal) add_some(plots, timeline_plots(cells, *journal));
    std::map<std::string, int> names;
    for (Plot& plot : plots)
        if (const int others = names[plot.name]++; others > 0)
            plot.name += "_" + std::to_string(others + 1);
    return plots;
}

}  // namespace isosweep
