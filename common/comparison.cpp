#include <isosweep/comparison.h>
#include <isosweep/statistics.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace isosweep {
namespace {

// --- Student's t --------------------------------------------------------------------------------

/// The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8) by the
/// modified Lentz method. It converges fast for x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
    constexpr double tiny = 1e-300;
    const auto away_from_zero = [](double value) { return std::abs(value) < tiny ? tiny : value; };
    double c = 1;
    double d = 1 / away_from_zero(1 - (a + b) * x / (a + 1));
    double fraction = d;
    for (int m = 1; m <= 500; ++m) {
        const double at = a + 2 * m;
        for (const double term :
             {m * (b - m) * x / ((at - 1) * at), -(a + m) * (a + b + m) * x / (at * (at + 1))}) {
            d = 1 / away_from_zero(1 + term * d);
            c = away_from_zero(1 + term / c);
            fraction *= c * d;
        }
        if (std::abs(c * d - 1) < 1e-14) break;
    }
    return fraction;
}

/// The regularised incomplete beta function I_x(a, b) for 0 < x < 1.
double incomplete_beta(double a, double b, double x) {
    const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                  a * std::log(x) + b * std::log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

/// P(|T| > |t|) of Student's t (Abramowitz and Stegun 26.7.1).
double t_two_sided(double t, double degrees) {
    const double x = degrees / (degrees + t * t);
    if (x >= 1) return 1;
    if (x <= 0) return 0;
    return incomplete_beta(degrees / 2, 0.5, x);
}

/// The t beyond which lie 5 % on both sides together.
double t_of_95_percent(double degrees) {
    double low = 1.9;
    double high = 1e4;
    while (high - low > 1e-9 * high) {
        const double middle = (low + high) / 2;
        (t_two_sided(middle, degrees) > 0.05 ? low : high) = middle;
    }
    return high;
}

// --- ranks --------------------------------------------------------------------------------------

constexpr double normal_97_5 = 1.959963984540054;

/// P(U = u) of the Mann-Whitney statistic where there is no shift and no ties: the coefficients of
/// the Gaussian binomial (n + m over n) over their sum.
std::vector<double> mann_whitney_distribution(std::size_t n, std::size_t m) {
    std::vector<double> counts(n * m + 1, 0.0);
    counts[0] = 1;
    for (std::size_t i = 1; i <= n; ++i) {
        for (std::size_t u = n * m; u >= m + i; --u) counts[u] -= counts[u - m - i];
        for (std::size_t u = i; u <= n * m; ++u) counts[u] += counts[u - i];
    }
    const double all = std::accumulate(counts.begin(), counts.end(), 0.0);
    for (double& count : counts) count /= all;
    return counts;
}

/// Two series against each other, sample by sample.
struct Pairs {
    std::size_t n = 0;
    std::size_t m = 0;
    std::vector<double> differences;  ///< b - a of all pairs, sorted
    double u = 0;                     ///< pairs with b > a; those that are equal count half
    double ties = 0;                  ///< sum of t^3 - t over the groups of t equal samples

    bool is_exact() const { return n * m <= 2500; }
    double mean_u() const { return static_cast<double>(n * m) / 2; }
    /// Of U without a shift.
    double deviation_u() const {
        const auto all = static_cast<double>(n + m);
        return std::sqrt(static_cast<double>(n * m) / 12 * (all + 1 - ties / (all * (all - 1))));
    }
};

Pairs make_pairs(const std::vector<double>& a, const std::vector<double>& b) {
    Pairs pairs;
    pairs.n = a.size();
    pairs.m = b.size();
    pairs.differences.reserve(a.size() * b.size());
    for (const double y : b)
        for (const double x : a) {
            pairs.differences.push_back(y - x);
            if (y >= x) pairs.u += y > x ? 1 : 0.5;
        }
    std::sort(pairs.differences.begin(), pairs.differences.end());
    std::vector<double> all = a;
    all.insert(all.end(), b.begin(), b.end());
    std::sort(all.begin(), all.end());
    for (auto first = all.begin(); first != all.end();) {
        const auto last = std::upper_bound(first, all.end(), *first);
        const auto count = static_cast<double>(last - first);
        pairs.ties += count * count * count - count;
        first = last;
    }
    return pairs;
}

/// The largest k with P(U < k) <= 0.025: the k-th smallest and the k-th largest difference bound
/// the shift with 95 %. 0 where there is none.
std::size_t interval_rank(const Pairs& pairs, const std::vector<double>& distribution) {
    if (distribution.empty())
        return static_cast<std::size_t>(std::max(
            0.0, std::floor(pairs.mean_u() -
                            normal_97_5 * std::sqrt(static_cast<double>(pairs.n * pairs.m *
                                                                        (pairs.n + pairs.m + 1)) /
                                                    12))));
    double below = 0;
    std::size_t k = 0;
    while (below + distribution[k] <= 0.025) below += distribution[k++];
    return k;
}

/// How far U is from its mean, in deviations, corrected for continuity.
double z_of(const Pairs& pairs) {
    const double away = std::abs(pairs.u - pairs.mean_u()) - 0.5;
    const double deviation = pairs.deviation_u();
    return away <= 0 || deviation <= 0 ? 0 : away / deviation;
}

double mann_whitney_p(const Pairs& pairs, const std::vector<double>& distribution) {
    if (distribution.empty() || pairs.ties > 0) return std::erfc(z_of(pairs) / std::numbers::sqrt2);
    const auto u = static_cast<std::ptrdiff_t>(
        std::min(pairs.u, static_cast<double>(pairs.n * pairs.m) - pairs.u));
    return std::min(1.0,
                    2 * std::accumulate(distribution.begin(), distribution.begin() + u + 1, 0.0));
}

// --- autocorrelation ----------------------------------------------------------------------------

/// The rank of each sample in its series; of those that are equal, their mean rank.
std::vector<double> ranks_of(const std::vector<double>& series) {
    std::vector<double> sorted = series;
    std::sort(sorted.begin(), sorted.end());
    std::vector<double> ranks;
    ranks.reserve(series.size());
    for (const double sample : series) {
        const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), sample);
        ranks.push_back(
            static_cast<double>((first - sorted.begin()) + (last - sorted.begin()) + 1) / 2);
    }
    return ranks;
}

/// The autocorrelation of a series' ranks, freed of its bias: that of a short one comes out too
/// low.
double rank_autocorrelation(const std::vector<double>& series) {
    const auto n = static_cast<double>(series.size());
    if (n <= 5) return 0;
    const double mean = (n + 1) / 2;
    double squares = 0;
    double products = 0;
    double before = 0;
    for (const double rank : ranks_of(series)) {
        squares += (rank - mean) * (rank - mean);
        products += before * (rank - mean);
        before = rank - mean;
    }
    if (squares == 0) return 0;
    return std::clamp((n * products / squares + 1) / (n - 5), 0.0, 0.9);
}

/// By how much autocorrelation multiplies the variance of a mean.
double variance_factor(double autocorrelation) {
    return (1 + autocorrelation) / (1 - autocorrelation);
}

std::optional<std::vector<double>> logarithms(std::span<const double> samples) {
    std::vector<double> logs;
    logs.reserve(samples.size());
    for (const double sample : samples) {
        if (!(sample > 0)) return std::nullopt;
        logs.push_back(std::log(sample));
    }
    if (logs.empty()) return std::nullopt;
    return logs;
}

}  // namespace

std::optional<Shift> shift_of_samples(std::span<const double> a, std::span<const double> b) {
    const auto logs_a = logarithms(a);
    const auto logs_b = logarithms(b);
    if (!logs_a || !logs_b) return std::nullopt;
    const Pairs pairs = make_pairs(*logs_a, *logs_b);
    const std::vector<double> distribution =
        pairs.is_exact() ? mann_whitney_distribution(pairs.n, pairs.m) : std::vector<double>();

    Shift shift;
    const std::vector<double>& sorted = pairs.differences;
    shift.estimate = (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2;
    shift.p = mann_whitney_p(pairs, distribution);
    if (const std::size_t k = interval_rank(pairs, distribution); k > 0)
        shift.interval = std::pair(sorted[k - 1], sorted[sorted.size() - k]);

    const double factor_a = variance_factor(rank_autocorrelation(*logs_a));
    const double factor_b = variance_factor(rank_autocorrelation(*logs_b));
    if ((factor_a == 1 && factor_b == 1) || !shift.interval) return shift;
    const auto n = static_cast<double>(pairs.n);
    const auto m = static_cast<double>(pairs.m);
    const double widening = std::sqrt((factor_a / n + factor_b / m) / (1 / n + 1 / m));
    const double degrees = std::max(4.0, n / factor_a + m / factor_b - 2);
    auto& [low, high] = *shift.interval;
    const double error = widening * (high - low) / (2 * normal_97_5);
    if (error > 0) shift.p = std::max(shift.p, t_two_sided(shift.estimate / error, degrees));
    const double stretch = widening * t_of_95_percent(degrees) / normal_97_5;
    low = shift.estimate - stretch * (shift.estimate - low);
    high = shift.estimate + stretch * (high - shift.estimate);
    return shift;
}

std::optional<Moments> moments_of(std::span<const double> samples) {
    const auto statistics = summarize(samples);
    if (!statistics || !statistics->sample_std) return std::nullopt;
    return Moments{static_cast<double>(statistics->n), statistics->mean, *statistics->sample_std};
}

std::optional<Shift> shift_of_moments(const Moments& a, const Moments& b) {
    if (a.n < 2 || b.n < 2 || !(a.mean > 0) || !(b.mean > 0)) return std::nullopt;
    const auto variance = [](const Moments& series) {
        const double cv = series.sample_std / series.mean;
        return cv * cv / series.n * variance_factor(series.autocorrelation);
    };
    const auto degrees = [](const Moments& series) {
        return std::max(1.0, series.n / variance_factor(series.autocorrelation) - 1);
    };
    Shift shift;
    shift.estimate = std::log(b.mean / a.mean);
    const double sum = variance(a) + variance(b);
    if (sum == 0) {
        // All samples of a series are equal, so any difference is one.
        shift.interval = std::pair(shift.estimate, shift.estimate);
        shift.p = shift.estimate == 0 ? 1 : 0;
        return shift;
    }
    // Welch and Satterthwaite's degrees of freedom.
    const double all =
        sum * sum /
        (variance(a) * variance(a) / degrees(a) + variance(b) * variance(b) / degrees(b));
    const double error = std::sqrt(sum);
    const double half = t_of_95_percent(all) * error;
    shift.interval = std::pair(shift.estimate - half, shift.estimate + half);
    shift.p = t_two_sided(shift.estimate / error, all);
    return shift;
}

std::vector<double> holm(std::span<const double> p) {
    std::vector<std::size_t> order(p.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t one, std::size_t other) { return p[one] < p[other]; });
    std::vector<double> adjusted(p.size());
    double largest = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
        const double mine = static_cast<double>(order.size() - i) * p[order[i]];
        largest = std::max(largest, std::min(1.0, mine));
        adjusted[order[i]] = largest;
    }
    return adjusted;
}

Verdict judge(const Shift& shift, double holm_p, double threshold) {
    const double limit = std::log1p(threshold);
    if (shift.p < 0.005 && holm_p < 0.05 && std::abs(shift.estimate) > limit)
        return shift.estimate < 0 ? Verdict::faster : Verdict::slower;
    if (shift.interval && shift.interval->first >= -limit && shift.interval->second <= limit)
        return Verdict::same;
    return Verdict::inconclusive;
}

}  // namespace isosweep
