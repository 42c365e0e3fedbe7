#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

/// Fits of a time as a sum of a few costs, none of which can be less than it physically is.
namespace isosweep {

inline constexpr std::size_t fit_terms = 4;
using Terms = std::array<double, fit_terms>;

/// A value that is to be the sum of coefficient times term.
struct Observation {
    Terms terms{};  ///< none is negative
    double value = 0;
    double weight = 1;
};

/// Coefficients of at least 0 with the least sum of weight * (value - sum)^2. Exact: the solution
/// is the ordinary least-squares one of those terms that are not 0 in it (Lawson and Hanson 1974,
/// chapter 23), and of so few terms every choice is tried. A term that follows from others is 0.
Terms nonnegative_least_squares(std::span<const Observation> observations);

/// What a robust fit found.
struct RobustFit {
    Terms coefficients{};
    std::vector<double> residuals;  ///< of each observation: value / fitted value - 1
    /// Their standard deviation if all were like most: 1.4826 times the median of their sizes,
    /// widened for the coefficients that were fitted.
    double sigma = 0;
};

/// A fit of relative deviations, so that small values count as much as large ones, in which one far
/// off pulls no more than one that is 1.345 sigma off (Huber 1981, by repeated weighting). Values
/// are above 0, and no coefficient is below that of `least`. Absent where there are not more
/// observations than terms, and where they are too large for a double.
std::optional<RobustFit> fit_robustly(std::span<const Observation> observations,
                                      const Terms& least = {});

}  // namespace isosweep
