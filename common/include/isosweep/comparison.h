#pragma once

#include <isosweep/text.h>

#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

/// How two series of times differ, and whether that may be called a change.
namespace isosweep {

/// By how much B takes longer than A, in natural logarithms of the ratio of their times.
struct Shift {
    double estimate = 0;  ///< ln(B / A)
    /// Where it lies with 95 %; absent where the series are too short for that.
    std::optional<std::pair<double, double>> interval;
    double p = 1;  ///< of no shift, two-sided
};

/// The shift between two series of positive samples, each of one process.
///
/// The Hodges-Lehmann estimate, the median of all n m differences ln b - ln a, with its rank
/// interval, and the Mann-Whitney p (Hollander, Wolfe and Chicken, Nonparametric Statistical
/// Methods, 4.1 to 4.3): exact where n m <= 2500 and without ties, else the normal approximation
/// with the corrections for ties and continuity.
///
/// Samples of a process that resemble their predecessors say less than so many independent ones.
/// Where a series has a positive autocorrelation r, its variance counts (1 + r) / (1 - r) fold: the
/// interval is wider by the root of the two series' mean factor, and the least p is that of
/// Student's t, the estimate over its error (half the interval over 1.96, widened), with as many
/// degrees of freedom as there are independent samples, at least 4. r is the lag-1 autocorrelation
/// r1 of the series' ranks, behind which outliers cannot hide it, freed of its bias of about
/// -(1 + 4 r) / n (Marriott and Pope 1954) with one more off n for caution: (n r1 + 1) / (n - 5),
/// within 0 to 0.9; 0 up to n = 5.
/// \returns absent where a series is empty or has a sample that is not positive
std::optional<Shift> shift_of_samples(std::span<const double> a, std::span<const double> b);

/// What is known of a series where its samples are not.
struct Moments {
    double n = 0;
    double mean = 0;
    double sample_std = 0;
    double autocorrelation = 0;  ///< from 0 to 0.9
};

/// Mean and deviation of positive samples, taken as independent; absent for less than two.
std::optional<Moments> moments_of(std::span<const double> samples);

/// The shift between two series by Welch's t (1947), on logarithms by the delta method: ln mean,
/// with the variance (std / mean)^2 / n, which autocorrelation widens as above.
/// \returns absent where n is below 2 or the mean not positive
std::optional<Shift> shift_of_moments(const Moments& a, const Moments& b);

/// Holm's adjusted p values (1979), in the order given: to call a change what is below alpha here
/// means a false one in any of them with at most alpha.
std::vector<double> holm(std::span<const double> p);

enum class Verdict { faster, slower, same, inconclusive };
template <>
struct EnumNames<Verdict> {
    static constexpr std::pair<Verdict, std::string_view> value[] = {
        {Verdict::faster, "FASTER"},
        {Verdict::slower, "SLOWER"},
        {Verdict::same, "SAME"},
        {Verdict::inconclusive, "INCONCLUSIVE"}};
};

/// What may be said of B against A. A change: the estimate is beyond `threshold` (0.01: 1 %), p is
/// below 0.005, which bounds the share of rows that are called changed without a cause, and
/// `holm_p` below 0.05, which bounds that for the table. The same: the interval is within the
/// threshold.
Verdict judge(const Shift& shift, double holm_p, double threshold);

}  // namespace isosweep
