#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace isosweep {

/// What a series of samples says, in the samples' unit. Quantiles interpolate linearly at
/// h = (n - 1) p (Hyndman and Fan 1996, type 7). All members are finite where the samples are below
/// 1e150.
struct Statistics {
    std::size_t n = 0;
    double mean = 0;
    double population_std = 0;         ///< sqrt(sum (x - mean)^2 / n), as the original module's
    std::optional<double> sample_std;  ///< sqrt(sum (x - mean)^2 / (n - 1)); absent for n = 1
    double median = 0;
    double min = 0;
    double max = 0;
    double q1 = 0;
    double q3 = 0;
    double mad = 0;             ///< median of |x - median|, not scaled to a standard deviation
    std::optional<double> p90;  ///< absent below 10 samples
    std::optional<double> p95;  ///< absent below 20
    std::optional<double> p99;  ///< absent below 100
    /// Lag-1 autocorrelation, sum (x_i - mean)(x_i+1 - mean) / sum (x_i - mean)^2, within 0 to 0.9;
    /// 0 where all samples are equal.
    double autocorrelation = 0;
    /// The order-statistic 95 % interval of the median (`median_ci_ranks`); absent below 6 samples.
    std::optional<std::pair<double, double>> median_ci;

    double iqr() const { return q3 - q1; }

    /// Independent samples that say as much: n (1 - r1) / (1 + r1).
    double effective_n() const;

    /// Population standard deviation over mean, in percent, as the original module's; absent where
    /// the mean is 0.
    std::optional<double> cv_percent() const;

    /// Standard error of `cv_percent`, cv / sqrt(2 (n - 1)), for normal samples; absent for n = 1.
    std::optional<double> cv_se_percent() const;
};

/// Statistics of at least one finite sample; absent for none.
std::optional<Statistics> summarize(std::span<const double> samples);

/// Those of an array of numbers in a measurement, as "samples_ms"; absent where there is none.
std::optional<Statistics> summarize(const boost::json::object& holder, std::string_view name);

/// The ranks, from 1, of the samples that bound the median of any distribution with at least 95 %:
/// k and n + 1 - k for the largest k with sum_{i<k} C(n, i) / 2^n <= 0.025 (David and Nagaraja,
/// Order Statistics, 7.1). Absent below 6 samples, where there are none.
std::optional<std::pair<std::size_t, std::size_t>> median_ci_ranks(std::size_t n);

/// Half the width of the median's 95 % interval over the median, widened by
/// sqrt((1 + r1) / (1 - r1)) for the autocorrelation r1 of the series. Absent below 6 samples and
/// where the median is not positive.
std::optional<double> relative_half_width(std::span<const double> samples);

/// Where a series is heading.
struct Trend {
    double percent = 0;  ///< Theil-Sen slope times n, in percent of the median
    double p = 1;        ///< of no trend: Mann-Kendall, two-sided, corrected for ties
};

/// The trend of at least 3 samples with a positive median; absent otherwise. It looks at each pair,
/// so of a long series only at 500 evenly spaced samples.
std::optional<Trend> find_trend(std::span<const double> samples);

/// Samples far from the others, by their indices. They are told, never dropped.
struct Outliers {
    std::vector<std::size_t> mild;    ///< score above 3.5, at most 10
    std::vector<std::size_t> severe;  ///< score above 10
    double mean_without_severe = 0;

    std::size_t count() const { return mild.size() + severe.size(); }
    /// Whether it is (also) the first sample, as where the warm-up was too short.
    bool first_is_outlier() const;
};

/// Outliers of finite samples by the modified z-score 0.6745 |x - median| / MAD (Iglewicz and
/// Hoaglin 1993), where the MAD is at least `resolution`, what the clock can tell apart, in the
/// samples' unit: by default a microsecond in milliseconds.
Outliers find_outliers(std::span<const double> samples, double resolution = 0.001);

}  // namespace isosweep
