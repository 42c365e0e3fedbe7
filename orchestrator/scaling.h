#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "orchestrator/printers.h"
#include "orchestrator/table.h"

namespace isosweep {

/// y = c x^exponent.
struct PowerLaw {
    double exponent = 0;
    /// Of the exponent, s / sqrt(sum (ln x - mean)^2) with s^2 = sum residual^2 / (n - 2); absent
    /// for two points.
    std::optional<double> standard_error;
    std::size_t points = 0;
};

/// Least squares on the logarithms of points (x, y), all positive; absent where they have fewer
/// than two different x.
std::optional<PowerLaw> fit_power_law(std::span<const std::pair<double, double>> points);

/// The view `scaling`: for context length, size and batch size, every series of at least two
/// measured cells that differ in that axis alone (and in `replicate`), in its order, with the power
/// law of its median times in each of its rows.
Table scaling_rows(const Table& cells);
std::vector<ShownColumn> shown_scaling(const Table& rows);

}  // namespace isosweep
