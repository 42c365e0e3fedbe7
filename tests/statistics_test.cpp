#include <doctest/doctest.h>
#include <isosweep/statistics.h>

#include <cmath>
#include <vector>

using namespace isosweep;

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
}

TEST_CASE("one sample has no sample deviation, none has no statistics") {
    const auto s = summarize(std::vector<double>{3});
    REQUIRE(s);
    CHECK(s->population_std == 0);
    CHECK_FALSE(s->sample_std);
    CHECK_FALSE(summarize({}));
}

TEST_CASE("a large common offset costs no digits") {
    const auto s = summarize(std::vector<double>{1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16});
    CHECK(*s->sample_std == doctest::Approx(std::sqrt(30.0)));
}
