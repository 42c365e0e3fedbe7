#include <doctest/doctest.h>
#include <isosweep/least_squares.h>

#include <cmath>

using namespace isosweep;

namespace {

/// Observations of 2 a + 0 b + 3 c + 0.5 d with terms that differ, off by `noise` one way and the
/// other.
std::vector<Observation> exact_rows(double noise = 0) {
    std::vector<Observation> rows;
    for (int i = 0; i < 12; ++i) {
        const int step = i / 4;
        const double x = 1 + i % 4;
        const double y = 1 + step;
        Observation row{{x, x * y, y * y, 1 / x}, 0};
        row.value = 2 * row.terms[0] + 3 * row.terms[2] + 0.5 * row.terms[3];
        row.value *= 1 + (i % 2 == 0 ? noise : -noise);
        rows.push_back(row);
    }
    return rows;
}

}  // namespace

TEST_CASE("least squares find the coefficients of what is exact") {
    const Terms found = nonnegative_least_squares(exact_rows());
    CHECK(found[0] == doctest::Approx(2));
    CHECK(found[1] == doctest::Approx(0));
    CHECK(found[2] == doctest::Approx(3));
    CHECK(found[3] == doctest::Approx(0.5));
}

TEST_CASE("no coefficient is negative, and the others are the best without it") {
    // y = 4 - x over x = 0..4 would have a slope of -1; without it the mean is the best.
    std::vector<Observation> rows;
    for (int x = 0; x < 5; ++x) rows.push_back({{1, static_cast<double>(x), 0, 0}, 4.0 - x});
    const Terms found = nonnegative_least_squares(rows);
    CHECK(found[0] == doctest::Approx(2));
    CHECK(found[1] == 0);
    // Terms that are always 0, or that follow from others, take nothing.
    CHECK(found[2] == 0);
    for (Observation& row : rows) row.terms[2] = 3 * row.terms[0];
    const Terms dependent = nonnegative_least_squares(rows);
    CHECK(dependent[0] + 3 * dependent[2] == doctest::Approx(2));
}

TEST_CASE("weights count like repetitions") {
    const std::vector<Observation> weighted = {{{1, 0, 0, 0}, 1, 3}, {{1, 0, 0, 0}, 5, 1}};
    CHECK(nonnegative_least_squares(weighted)[0] == doctest::Approx(2));
}

TEST_CASE("a robust fit is not pulled by one value that is far off") {
    std::vector<Observation> rows = exact_rows(0.01);
    const auto calm = fit_robustly(rows);
    REQUIRE(calm);
    CHECK(calm->sigma > 0.005);
    CHECK(calm->sigma < 0.03);
    for (const double factor : {0.5, 2.0, 10.0}) {
        CAPTURE(factor);
        rows = exact_rows(0.01);
        rows[5].value *= factor;
        const auto fit = fit_robustly(rows);
        REQUIRE(fit);
        CHECK(fit->residuals[5] == doctest::Approx(factor - 1).epsilon(0.05));
        for (std::size_t i = 0; i < rows.size(); ++i)
            if (i != 5) CHECK(std::abs(fit->residuals[i]) < 0.04);
        CHECK(fit->sigma < 0.04);
    }
}

TEST_CASE("no coefficient is below the least, and the others make up for it") {
    const Terms least = {0, 0.25, 0, 1};
    const auto fit = fit_robustly(exact_rows(), least);
    REQUIRE(fit);
    CHECK(fit->coefficients[1] == 0.25);  // 0 without it
    CHECK(fit->coefficients[3] == 1);     // 0.5 without it
    CHECK(fit->coefficients[0] < 2);
    CHECK(fit->coefficients[2] < 3);
    const Terms lower = {1, 0, 1, 0.25};
    CHECK(fit_robustly(exact_rows(), lower)->coefficients[0] == doctest::Approx(2));
}

TEST_CASE("an exact fit has residuals of nothing, and too few values have no fit") {
    const auto fit = fit_robustly(exact_rows());
    REQUIRE(fit);
    for (const double residual : fit->residuals) CHECK(std::abs(residual) < 1e-9);
    std::vector<Observation> few = exact_rows();
    few.resize(fit_terms);
    CHECK_FALSE(fit_robustly(few));
    std::vector<Observation> huge = exact_rows();
    huge[3].value = 1e-300;
    CHECK_FALSE(fit_robustly(huge));
}
