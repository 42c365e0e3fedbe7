#include <doctest/doctest.h>
#include <isosweep/statistics.h>

#include <boost/json/array.hpp>
#include <cmath>
#include <random>
#include <vector>

using namespace isosweep;

namespace {

/// Normal noise of variance 1, the same in every run.
class Noise {
  public:
    double operator()() { return normal_(random_); }

  private:
    std::mt19937_64 random_{20240607};  // NOLINT(bugprone-random-generator-seed)
    std::normal_distribution<double> normal_;
};

}  // namespace

TEST_CASE("statistics of a series") {
    const std::vector<double> samples = {2, 4, 4, 4, 5, 5, 7, 9};
    const auto s = summarize(samples);
    REQUIRE(s);
    CHECK(s->n == 8);
    CHECK(s->mean == doctest::Approx(5));
    CHECK(s->population_std == doctest::Approx(2));
    CHECK(*s->sample_std == doctest::Approx(std::sqrt(32.0 / 7)));
    CHECK(s->median == 4.5);
    CHECK(s->min == 2);
    CHECK(s->max == 9);
    CHECK(*s->cv_percent() == doctest::Approx(40));
    CHECK(*s->cv_se_percent() == doctest::Approx(40 / std::sqrt(14.0)));
    CHECK(s->q1 == 4);
    CHECK(s->q3 == 5.5);
    CHECK(s->iqr() == 1.5);
    CHECK(s->mad == 0.5);
    // (3 + 1 + 1 + 0 + 0 + 0 + 8) / 32
    CHECK(s->autocorrelation == doctest::Approx(13.0 / 32));
    CHECK(s->effective_n() == doctest::Approx(8 * 19.0 / 45));
    CHECK(*s->median_ci == std::pair(2.0, 9.0));
    CHECK_FALSE(s->p90);
}

TEST_CASE("one sample has no sample deviation, none has no statistics") {
    const auto s = summarize(std::vector<double>{3});
    REQUIRE(s);
    CHECK(s->population_std == 0);
    CHECK(s->q1 == 3);
    CHECK(s->mad == 0);
    CHECK(s->autocorrelation == 0);
    CHECK(s->effective_n() == 1);
    CHECK_FALSE(s->sample_std);
    CHECK_FALSE(s->cv_se_percent());
    CHECK_FALSE(s->median_ci);
    CHECK_FALSE(summarize({}));
}

TEST_CASE("two samples") {
    const std::vector<double> samples = {1, 3};
    const auto s = summarize(samples);
    REQUIRE(s);
    CHECK(s->median == 2);
    CHECK(s->q1 == 1.5);
    CHECK(s->q3 == 2.5);
    CHECK(s->mad == 1);
    CHECK(s->autocorrelation == 0);  // -0.5, which cannot narrow an interval
    CHECK(*s->cv_se_percent() == doctest::Approx(50 / std::sqrt(2.0)));
    CHECK_FALSE(relative_half_width(samples));
    CHECK_FALSE(find_trend(samples));
    CHECK(find_outliers(samples).count() == 0);
}

TEST_CASE("a constant series") {
    const std::vector<double> samples(30, 0.1);
    const auto s = summarize(samples);
    REQUIRE(s);
    CHECK(s->mean == 0.1);
    CHECK(s->population_std == 0);
    CHECK(s->autocorrelation == 0);
    CHECK(*s->cv_se_percent() == 0);
    CHECK(*s->median_ci == std::pair(0.1, 0.1));
    CHECK(*relative_half_width(samples) == 0);
    CHECK(find_trend(samples)->percent == 0);
    CHECK(find_trend(samples)->p == 1);
    CHECK(find_outliers(samples).count() == 0);
    CHECK(find_outliers(samples).mean_without_severe == 0.1);
}

TEST_CASE("a large common offset costs no digits") {
    const auto s = summarize(std::vector<double>{1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16});
    CHECK(*s->sample_std == doctest::Approx(std::sqrt(30.0)));
}

TEST_CASE("high quantiles need samples") {
    std::vector<double> samples;
    for (int i = 0; i < 101; ++i) samples.push_back(i);
    const auto of_first = [&](std::size_t n) { return *summarize(std::span(samples).first(n)); };
    CHECK(*of_first(101).p90 == doctest::Approx(90));
    CHECK(*of_first(101).p95 == doctest::Approx(95));
    CHECK(*of_first(101).p99 == doctest::Approx(99));
    CHECK_FALSE(of_first(99).p99);
    CHECK(of_first(20).p95);
    CHECK_FALSE(of_first(19).p95);
    CHECK(*of_first(10).p90 == doctest::Approx(8.1));
    CHECK_FALSE(of_first(9).p90);
}

TEST_CASE("the ranks of the median's interval") {
    using Ranks = std::pair<std::size_t, std::size_t>;
    const std::pair<std::size_t, Ranks> golden[] = {{6, {1, 6}},    {8, {1, 8}},   {10, {2, 9}},
                                                    {12, {3, 10}},  {15, {4, 12}}, {20, {6, 15}},
                                                    {30, {10, 21}}, {50, {18, 33}}};
    for (const auto& [n, ranks] : golden) CHECK(median_ci_ranks(n) == ranks);
    for (std::size_t n = 0; n < 6; ++n) CHECK_FALSE(median_ci_ranks(n));
    // Where 2^-n is no double any more: n / 2 - 1.96 sqrt(n) / 2.
    CHECK(median_ci_ranks(10000) == Ranks{4902, 5099});
}

TEST_CASE("autocorrelation widens the median's interval to what it covers") {
    Noise noise;
    int naive = 0;
    int corrected = 0;
    const int trials = 500;
    for (int trial = 0; trial < trials; ++trial) {
        std::vector<double> samples;
        double deviation = noise() / std::sqrt(1 - 0.25);
        for (int i = 0; i < 50; ++i) {
            samples.push_back(100 + deviation);
            deviation = 0.5 * deviation + noise();
        }
        const auto s = summarize(samples);
        const auto [low, high] = *s->median_ci;
        naive += low <= 100 && 100 <= high;
        corrected += std::abs(s->median - 100) <= *relative_half_width(samples) * s->median;
    }
    CHECK(naive < 0.85 * trials);
    CHECK(corrected >= 0.88 * trials);
}

TEST_CASE("a series that rises has a trend, noise has none") {
    Noise noise;
    std::vector<double> rising;
    std::vector<double> level;
    for (int i = 0; i < 40; ++i) {
        level.push_back(100 + noise());
        rising.push_back(level.back() + 0.25 * i);
    }
    CHECK(find_trend(rising)->percent == doctest::Approx(10).epsilon(0.2));
    CHECK(find_trend(rising)->p < 1e-4);
    CHECK(find_trend(level)->p > 0.05);
    CHECK_FALSE(find_trend(std::vector<double>{-1, -2, -3}));
}

TEST_CASE("ties make a trend less sure") {
    // All of the 8 pairs that differ rise.
    const auto trend = find_trend(std::vector<double>{1, 1, 2, 3, 3});
    REQUIRE(trend);
    CHECK(trend->percent == doctest::Approx(100 * 0.5833333 * 5 / 2).epsilon(1e-3));
    const double variance = (5.0 * 4 * 15 - 2 * (2.0 * 1 * 9)) / 18;
    CHECK(trend->p == doctest::Approx(std::erfc((8 - 1) / std::sqrt(variance) / std::sqrt(2.0))));
}

TEST_CASE("the trend of a long series is that of evenly spaced samples") {
    std::vector<double> samples;
    for (int i = 0; i < 20000; ++i) samples.push_back(100 + i * 1e-3);
    CHECK(find_trend(samples)->percent == doctest::Approx(100 * 20 / 110.0).epsilon(0.01));
}

TEST_CASE("outliers are told by their index and never dropped") {
    std::vector<double> samples = {10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98, 1e6};
    const Outliers huge = find_outliers(samples);
    CHECK(huge.severe == std::vector<std::size_t>{7});
    CHECK(huge.mild.empty());
    CHECK_FALSE(huge.first_is_outlier());
    CHECK(huge.mean_without_severe == doctest::Approx(10));
    const auto s = summarize(samples);
    CHECK(s->mean > 1e5);
    CHECK(s->median == doctest::Approx(10.01));
    CHECK(std::isfinite(*s->cv_percent()));

    samples.back() = 10.5;  // its score is 0.6745 * 0.49 / 0.06 = 5.5
    CHECK(find_outliers(samples).mild == std::vector<std::size_t>{7});
    CHECK(find_outliers(samples).severe.empty());
    std::swap(samples.front(), samples.back());
    CHECK(find_outliers(samples).first_is_outlier());
}

TEST_CASE("what the clock cannot tell apart makes no outlier") {
    std::vector<double> samples(10, 1.0);
    samples[3] = 1.002;
    CHECK(find_outliers(samples).count() == 0);
    CHECK(find_outliers(samples, 1e-6).severe == std::vector<std::size_t>{3});
    CHECK(find_outliers({}).count() == 0);
}

TEST_CASE("an array that is not all numbers has no statistics") {
    const boost::json::object holder{{"numbers", {1, 2.5}}, {"texts", {1, "2"}}, {"one", 1}};
    CHECK(summarize(holder, "numbers")->mean == 1.75);
    CHECK_FALSE(summarize(holder, "texts"));
    CHECK_FALSE(summarize(holder, "one"));
    CHECK_FALSE(summarize(holder, "absent"));
}
