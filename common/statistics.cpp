#include <isosweep/statistics.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "json_members.h"

namespace isosweep {
namespace {

/// The quantile p of sorted samples.
double quantile(std::span<const double> sorted, double p) {
    const double h = static_cast<double>(sorted.size() - 1) * p;
    const auto below = static_cast<std::size_t>(h);
    if (below + 1 == sorted.size()) return sorted[below];
    return sorted[below] + (h - std::floor(h)) * (sorted[below + 1] - sorted[below]);
}

std::vector<double> sorted_copy(std::span<const double> samples) {
    std::vector<double> sorted(samples.begin(), samples.end());
    std::sort(sorted.begin(), sorted.end());
    return sorted;
}

double median_of(std::span<const double> samples) { return quantile(sorted_copy(samples), 0.5); }

double median_absolute_deviation(std::span<const double> samples, double median) {
    std::vector<double> deviations;
    deviations.reserve(samples.size());
    for (const double sample : samples) deviations.push_back(std::abs(sample - median));
    return median_of(deviations);
}

/// The factor by which autocorrelation widens an interval.
double widening(double autocorrelation) {
    return std::sqrt((1 + autocorrelation) / (1 - autocorrelation));
}

/// The two-sided p of the Mann-Kendall statistic S of n samples, which are passed sorted.
double mann_kendall_p(double s, std::span<const double> sorted) {
    const auto term = [](double count) { return count * (count - 1) * (2 * count + 5); };
    double variance = term(static_cast<double>(sorted.size()));
    for (auto first = sorted.begin(); first != sorted.end();) {
        const auto last = std::upper_bound(first, sorted.end(), *first);
        variance -= term(static_cast<double>(last - first));
        first = last;
    }
    variance /= 18;
    if (s == 0 || variance <= 0) return 1;
    const double z = (std::abs(s) - 1) / std::sqrt(variance);
    return std::erfc(z / std::numbers::sqrt2);
}

}  // namespace

double Statistics::effective_n() const {
    return static_cast<double>(n) * (1 - autocorrelation) / (1 + autocorrelation);
}

std::optional<double> Statistics::cv_percent() const {
    if (mean == 0) return std::nullopt;
    return 100 * population_std / mean;
}

std::optional<double> Statistics::cv_se_percent() const {
    if (mean == 0 || n < 2) return std::nullopt;
    return 100 * population_std / mean / std::sqrt(2 * static_cast<double>(n - 1));
}

std::optional<std::pair<std::size_t, std::size_t>> median_ci_ranks(std::size_t n) {
    const auto count = static_cast<double>(n);
    // In logarithms: 2^-n is 0 as a double where n is large.
    double log_term = -count * std::numbers::ln2;
    double tail = 0;
    std::size_t k = 0;
    while (k < n) {
        tail += std::exp(log_term);
        if (tail > 0.025) break;
        log_term += std::log((count - static_cast<double>(k)) / static_cast<double>(k + 1));
        ++k;
    }
    if (k == 0) return std::nullopt;
    return std::pair(k, n + 1 - k);
}

std::optional<Statistics> summarize(std::span<const double> samples) {
    if (samples.empty()) return std::nullopt;
    const std::vector<double> sorted = sorted_copy(samples);
    const auto n = static_cast<double>(sorted.size());

    Statistics statistics;
    statistics.n = sorted.size();
    statistics.min = sorted.front();
    statistics.max = sorted.back();
    statistics.q1 = quantile(sorted, 0.25);
    statistics.median = quantile(sorted, 0.5);
    statistics.q3 = quantile(sorted, 0.75);
    statistics.mad = median_absolute_deviation(samples, statistics.median);
    if (sorted.size() >= 10) statistics.p90 = quantile(sorted, 0.90);
    if (sorted.size() >= 20) statistics.p95 = quantile(sorted, 0.95);
    if (sorted.size() >= 100) statistics.p99 = quantile(sorted, 0.99);
    if (const auto ranks = median_ci_ranks(sorted.size()))
        statistics.median_ci = std::pair(sorted[ranks->first - 1], sorted[ranks->second - 1]);

    // Around the median, so that a large common offset costs no digits.
    double sum = 0;
    for (const double sample : samples) sum += sample - statistics.median;
    const double shift = sum / n;
    statistics.mean = statistics.median + shift;
    double squares = 0;
    double products = 0;
    double before = 0;
    for (const double sample : samples) {
        const double deviation = sample - statistics.mean;
        squares += deviation * deviation;
        products += before * deviation;
        before = deviation;
    }
    statistics.population_std = std::sqrt(squares / n);
    if (sorted.size() > 1) statistics.sample_std = std::sqrt(squares / (n - 1));
    if (squares > 0) statistics.autocorrelation = std::clamp(products / squares, 0.0, 0.9);
    return statistics;
}

std::optional<Statistics> summarize(const boost::json::object& holder, std::string_view name) {
    return summarize(numbers_member(holder, name));
}

std::optional<double> relative_half_width(std::span<const double> samples) {
    const auto statistics = summarize(samples);
    if (!statistics || !statistics->median_ci || statistics->median <= 0) return std::nullopt;
    const auto [low, high] = *statistics->median_ci;
    return (high - low) / 2 / statistics->median * widening(statistics->autocorrelation);
}

std::optional<Trend> find_trend(std::span<const double> samples) {
    constexpr std::size_t most = 500;
    const std::size_t stride = (samples.size() + most - 1) / most;
    std::vector<double> series;
    for (std::size_t i = 0; i < samples.size(); i += stride) series.push_back(samples[i]);
    if (series.size() < 3) return std::nullopt;
    const std::vector<double> sorted = sorted_copy(series);
    const double median = quantile(sorted, 0.5);
    if (median <= 0) return std::nullopt;

    std::vector<double> slopes;
    slopes.reserve(series.size() * (series.size() - 1) / 2);
    double s = 0;
    for (std::size_t i = 0; i < series.size(); ++i) {
        for (std::size_t j = i + 1; j < series.size(); ++j) {
            const double difference = series[j] - series[i];
            slopes.push_back(difference / static_cast<double>(j - i));
            if (difference != 0) s += difference > 0 ? 1 : -1;
        }
    }
    const double slope = median_of(slopes);
    return Trend{100 * slope * static_cast<double>(series.size()) / median,
                 mann_kendall_p(s, sorted)};
}

bool Outliers::first_is_outlier() const {
    const auto starts_with_first = [](const std::vector<std::size_t>& indices) {
        return !indices.empty() && indices.front() == 0;
    };
    return starts_with_first(mild) || starts_with_first(severe);
}

Outliers find_outliers(std::span<const double> samples, double resolution) {
    Outliers outliers;
    if (samples.empty()) return outliers;
    const double median = median_of(samples);
    const double scale = std::max(median_absolute_deviation(samples, median), resolution);
    double sum = 0;
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const double score = 0.6745 * std::abs(samples[i] - median) / scale;
        if (score > 10)
            outliers.severe.push_back(i);
        else
            sum += samples[i] - median;
        if (score > 3.5 && score <= 10) outliers.mild.push_back(i);
    }
    // At least half of the samples are within one MAD of the median, so never all are severe.
    const auto kept = static_cast<double>(samples.size() - outliers.severe.size());
    outliers.mean_without_severe = median + sum / kept;
    return outliers;
}

}  // namespace isosweep
