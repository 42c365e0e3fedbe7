#include <doctest/doctest.h>
#include <isosweep/comparison.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

using namespace isosweep;

namespace {

/// exp(step * i) for i = 0 to n - 1, in an order in which neighbours differ most.
std::vector<double> grid(int n, double step, double shift = 0) {
    std::vector<double> samples;
    for (int i = 0; i < n; ++i)
        samples.push_back(std::exp(step * (i % 2 == 0 ? i / 2 : n - 1 - i / 2) + shift));
    return samples;
}

/// How a process takes its times.
struct Noise {
    enum Kind { normal, lognormal, contaminated } kind = normal;
    double deviation = 0.01;     ///< of a sample, 0.01: 1 %
    double autocorrelation = 0;  ///< of an AR(1) series
};

class Process {
  public:
    explicit Process(Noise noise) : noise_(noise) {}

    std::vector<double> run(int steps, double ms) {
        std::vector<double> samples;
        const double phi = noise_.autocorrelation;
        double z = normal_(random_);
        for (int i = 0; i < steps; ++i) {
            if (i > 0) z = phi * z + std::sqrt(1 - phi * phi) * normal_(random_);
            samples.push_back(ms * factor(z));
        }
        return samples;
    }

  private:
    double factor(double z) {
        if (noise_.kind == Noise::lognormal) return std::exp(noise_.deviation * z);
        // Each tenth step or so is late, by ten deviations.
        if (noise_.kind == Noise::contaminated && late_(random_))
            return 1 + 10 * noise_.deviation * std::abs(normal_(random_));
        return 1 + noise_.deviation * z;
    }

    Noise noise_;
    std::mt19937_64 random_{20261122};  // NOLINT(bugprone-random-generator-seed): to be repeated
    std::normal_distribution<double> normal_;
    std::bernoulli_distribution late_{0.1};
};

using Compare = std::function<Shift(const std::vector<double>&, const std::vector<double>&)>;

Shift compare_samples(const std::vector<double>& a, const std::vector<double>& b) {
    return *shift_of_samples(a, b);
}

Shift compare_moments(const std::vector<double>& a, const std::vector<double>& b) {
    return *shift_of_moments(*moments_of(a), *moments_of(b));
}

/// The share of rows, in percent, that are called a change where B takes `ratio` times as long as
/// A, in tables of so many rows; all with a threshold of 1 %.
double changes_percent(const Noise& noise, int steps, double ratio, int tables, int rows,
                       const Compare& compare = compare_samples) {
    Process process(noise);
    int changes = 0;
    for (int table = 0; table < tables; ++table) {
        std::vector<Shift> shifts;
        std::vector<double> p;
        for (int row = 0; row < rows; ++row) {
            const std::vector<double> a = process.run(steps, 10);
            shifts.push_back(compare(a, process.run(steps, 10 * ratio)));
            p.push_back(shifts.back().p);
        }
        const std::vector<double> adjusted = holm(p);
        for (std::size_t row = 0; row < shifts.size(); ++row) {
            const Verdict verdict = judge(shifts[row], adjusted[row], 0.01);
            changes += verdict == Verdict::slower || verdict == Verdict::faster;
        }
    }
    return 100.0 * changes / (tables * rows);
}

}  // namespace

TEST_CASE("Mann-Whitney's p is exact for few samples without ties") {
    // Hollander and Wolfe's permeability of membranes, in an order of no autocorrelation; W = 35,
    // one-sided p = 0.1272.
    const std::vector<double> term = {0.73, 1.91, 0.80, 1.89, 0.83, 1.64, 1.04, 1.46, 1.38, 1.45};
    const std::vector<double> early = {0.74, 1.21, 0.88, 1.15, 0.90};
    CHECK(shift_of_samples(early, term)->p == doctest::Approx(0.2544).epsilon(0.0005));
    CHECK(shift_of_samples(term, early)->p == doctest::Approx(0.2544).epsilon(0.0005));
    // Two series that do not overlap: 2 of the C(2n, n) orders are as extreme.
    CHECK(shift_of_samples(grid(4, 0.01), grid(4, 0.01, 1))->p == doctest::Approx(2.0 / 70));
    CHECK(shift_of_samples(grid(10, 0.01), grid(10, 0.01, 1))->p == doctest::Approx(2.0 / 184756));
    CHECK(shift_of_samples(grid(1, 0.01), grid(1, 0.01, 1))->p == 1);
}

TEST_CASE("with ties or many samples p is the normal approximation, corrected for both") {
    // U is 12, its mean 8. Four pairs of equal samples: sd^2 = 16/12 (9 - 4 (2^3 - 2) / (8 7)).
    const std::vector<double> a = {1, 2, 2, 3};
    const std::vector<double> b = {4, 1, 4, 3};
    const double deviation = std::sqrt(16.0 / 12 * (9 - 24.0 / 56));
    CHECK(shift_of_samples(a, b)->p ==
          doctest::Approx(std::erfc((12 - 8 - 0.5) / deviation / std::sqrt(2))));
    const std::vector<double> same(60, 1.5);
    CHECK(shift_of_samples(same, same)->p == 1);
    CHECK(shift_of_samples(same, same)->interval == std::pair(0.0, 0.0));
    CHECK(shift_of_samples(grid(60, 0.001), grid(60, 0.001, 1))->p < 1e-20);
}

TEST_CASE("the shift is the median of all differences, within the ranks of U's 2.5 %") {
    // Critical values of U, two-sided 5 %: 23 for 10 and 10, 127 for 20 and 20, 0 for 4 and 4. The
    // differences of two grids are -(n - 1), 2 times -(n - 2), ... steps.
    const Shift ten = *shift_of_samples(grid(10, 0.01), grid(10, 0.01, 0.5));
    CHECK(ten.estimate == doctest::Approx(0.5));
    CHECK(ten.interval->first == doctest::Approx(0.5 - 0.03));  // the 24th smallest of 100
    CHECK(ten.interval->second == doctest::Approx(0.5 + 0.03));
    const Shift twenty = *shift_of_samples(grid(20, 0.01), grid(20, 0.01));
    CHECK(twenty.interval->first == doctest::Approx(-0.04));  // the 128th smallest of 400
    const Shift four = *shift_of_samples(grid(4, 0.01), grid(4, 0.01));
    CHECK(four.interval->first == doctest::Approx(-0.03));
    CHECK(!shift_of_samples(grid(3, 0.01), grid(3, 0.01, 1))->interval);
    // 60 and 60: from the normal approximation, rank 1425 of 3600, -7 steps.
    CHECK(shift_of_samples(grid(60, 0.01), grid(60, 0.01))->interval->first ==
          doctest::Approx(-0.07));
}

TEST_CASE("an autocorrelated series widens the interval and raises p") {
    std::vector<double> rising;
    for (int i = 0; i < 20; ++i) rising.push_back(std::exp(0.001 * i));
    const Shift zigzag = *shift_of_samples(grid(20, 0.001), grid(20, 0.001, 0.01));
    std::vector<double> later = rising;
    for (double& sample : later) sample *= std::exp(0.01);
    const Shift trend = *shift_of_samples(rising, later);
    CHECK(trend.estimate == doctest::Approx(zigzag.estimate));
    const auto width = [](const Shift& shift) {
        return shift.interval->second - shift.interval->first;
    };
    CHECK(width(trend) > 4 * width(zigzag));
    CHECK(zigzag.p < 1e-4);
    CHECK(trend.p > 0.05);
}

TEST_CASE("samples that are no times have no shift") {
    const std::vector<double> some = {1.0, 2.0};
    const std::vector<double> zero = {1.0, 0.0};
    CHECK(!shift_of_samples(some, {}));
    CHECK(!shift_of_samples(some, zero));
    CHECK(!moments_of(std::vector<double>{1.0}));
    CHECK(!shift_of_moments(*moments_of(some), {2, 0, 1, 0}));
}

TEST_CASE("Welch's p and interval are those of Student's tables") {
    // Two series of n with a deviation of 1 % have an error of 0.01 sqrt(2 / n) and 2 (n - 1)
    // degrees of freedom. t of 5 %: 4.3027, 2.7764, 2.2281 and 2.0017 for 2, 4, 10 and 58.
    const std::pair<double, double> table[] = {
        {2, 4.302653}, {3, 2.776445}, {6, 2.228139}, {30, 2.001717}};
    for (const auto& [n, t] : table) {
        CAPTURE(n);
        const double error = 0.01 * std::sqrt(2 / n);
        const double mean = 10 * std::exp(t * error);
        const Shift shift = *shift_of_moments({n, 10, 0.1, 0}, {n, mean, 0.01 * mean, 0});
        CHECK(shift.estimate == doctest::Approx(t * error));
        CHECK(shift.p == doctest::Approx(0.05).epsilon(1e-4));
        CHECK(std::abs(shift.interval->first) < 1e-6 * error);
        CHECK(shift.interval->second == doctest::Approx(2 * t * error));
    }
    // An autocorrelation of 0.5 has the variance count threefold.
    const Shift wide = *shift_of_moments({1000, 10, 0.1, 0.5}, {1000, 10, 0.1, 0.5});
    CHECK(wide.interval->second ==
          doctest::Approx(1.9635 * 0.01 * std::sqrt(2.0 / 1000) * std::sqrt(3)).epsilon(1e-3));
    // Without any deviation each difference is one.
    CHECK(shift_of_moments({3, 10, 0, 0}, {3, 10.5, 0, 0})->p == 0);
    CHECK(shift_of_moments({3, 10, 0, 0}, {3, 10, 0, 0})->p == 1);
}

TEST_CASE("Holm's p counts the hypotheses that are left") {
    const std::vector<double> p = {0.01, 0.04, 0.03, 0.005};
    const std::vector<double> adjusted = holm(p);
    const double expected[] = {0.03, 0.06, 0.06, 0.02};
    for (std::size_t i = 0; i < p.size(); ++i) CHECK(adjusted[i] == doctest::Approx(expected[i]));
    CHECK(holm(std::vector<double>{0.7, 0.6}) == std::vector<double>{1.0, 1.0});
    CHECK(holm({}).empty());
}

TEST_CASE("a verdict needs both p and the threshold") {
    const auto shift = [](double percent, double half, double p) {
        const double estimate = std::log1p(percent / 100);
        return Shift{estimate, std::pair(estimate - half / 100, estimate + half / 100), p};
    };
    CHECK(judge(shift(2, 1.5, 0.001), 0.01, 0.01) == Verdict::slower);
    CHECK(judge(shift(-2, 1.5, 0.001), 0.01, 0.01) == Verdict::faster);
    CHECK(judge(shift(2, 1.5, 0.001), 0.06, 0.01) == Verdict::inconclusive);
    CHECK(judge(shift(2, 1.5, 0.006), 0.01, 0.01) == Verdict::inconclusive);
    CHECK(judge(shift(0.9, 0.5, 0.001), 0.01, 0.01) == Verdict::inconclusive);
    CHECK(judge(shift(0.9, 0.5, 0.001), 0.01, 0.005) == Verdict::slower);
    CHECK(judge(shift(0.5, 0.3, 0.0001), 0.001, 0.01) == Verdict::same);
    CHECK(judge(shift(0, 2, 1), 1, 0.01) == Verdict::inconclusive);
    CHECK(judge(Shift{0, std::nullopt, 1}, 1, 0.01) == Verdict::inconclusive);
}

TEST_CASE("simulated: of two runs of the same, less than 1 % of the rows are called a change") {
    for (const auto kind : {Noise::normal, Noise::lognormal, Noise::contaminated})
        for (const int steps : {10, 20}) {
            CAPTURE(kind);
            CAPTURE(steps);
            CHECK(changes_percent({kind, 0.01, 0}, steps, 1, 40, 10) < 1);
            // Large noise, and tables of one row, in which Holm takes nothing back.
            CHECK(changes_percent({kind, 0.05, 0}, steps, 1, 400, 1) < 1);
        }
    CHECK(changes_percent({Noise::normal, 0.01, 0.5}, 10, 1, 200, 20) < 1);
    CHECK(changes_percent({Noise::normal, 0.01, 0.5}, 20, 1, 60, 20) < 1);
    for (const int processes : {3, 5})
        CHECK(changes_percent({Noise::normal, 0.02, 0}, processes, 1, 1000, 1, compare_moments) <
              1);
}

TEST_CASE("simulated: a shift of 2 % at 1 % noise is found with 20 samples in over 95 %") {
    for (const auto kind : {Noise::normal, Noise::lognormal}) {
        CAPTURE(kind);
        CHECK(changes_percent({kind, 0.01, 0}, 20, 1.02, 40, 10) > 95);
        CHECK(changes_percent({kind, 0.01, 0}, 20, 1 / 1.02, 400, 1) > 95);
    }
    // The same of three processes a side whose medians vary by 0.2 %.
    CHECK(changes_percent({Noise::normal, 0.002, 0}, 3, 1.02, 500, 1, compare_moments) > 85);
}
