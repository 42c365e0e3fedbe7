#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "orchestrator/table.h"

/// Rows of a table of cells as curves: what is drawn in one plot, what is one curve, what it runs
/// along. Pure functions of the table.
namespace isosweep {

/// Which figure a curve shows; columns of the table.
struct Reading {
    std::string_view value;
    std::string_view low = {};  ///< of its interval; empty: none
    std::string_view high = {};
    double unit = 1;  ///< what values are divided by
};

struct CurvePoint {
    double x = 0;
    double y = 0;
    double low = 0;  ///< as `y` where there is no interval
    double high = 0;
};

struct Curve {
    std::string label;
    std::size_t color = 0;  ///< a number for each model size
    std::size_t mark = 0;   ///< a number for each combination of whatever else varies
    std::vector<CurvePoint> points;
    std::vector<double> out_of_memory;  ///< where cells lacked GPU memory instead
};

/// What curves run along: the axis along which most cells lie in curves of several points.
struct Abscissa {
    std::string column;  ///< empty: none does, and each curve is a point at a place of its own
    std::string name;    ///< "context length"
    std::string unit;    ///< "tokens"; empty: none
    std::vector<std::pair<double, std::string>> ticks;  ///< the values that occur, in order
    bool is_logarithmic = false;
};

/// The curves of one plot.
struct Panel {
    std::string label;  ///< "forward", "train step, bf16"
    Abscissa abscissa;
    std::vector<Curve> curves;
};

/// Every cell with the figure, or without GPU memory, in one panel per pass type; more panels where
/// one would have too many curves to tell apart. Cells that differ in `replicate` or `seed` alone
/// are one point: the median of their values, with an interval that holds all of theirs.
std::vector<Panel> make_panels(const Table& cells, const Reading& reading);

/// The axes that are not the same in all of these rows.
std::vector<std::string> varying_axes(const Table& cells, const std::vector<std::size_t>& rows);

/// A row's values of these axes, as a person tells cells apart: "small, context 512, bf16".
std::string cell_label(const Table& cells, std::size_t row, const std::vector<std::string>& axes);

/// All rows of a table, by number.
std::vector<std::size_t> all_rows_of(const Table& cells);

}  // namespace isosweep
