#include <isosweep/least_squares.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace isosweep {
namespace {

/// The least-squares problem as A'A x = A'b, with the terms scaled so that A'A has ones on its
/// diagonal.
struct NormalEquations {
    std::array<Terms, fit_terms> matrix{};
    Terms right{};
    Terms scale{};  ///< length of each term's column; 0: the term is always 0
};

NormalEquations normal_equations(std::span<const Observation> observations) {
    NormalEquations equations;
    for (const Observation& one : observations)
        for (std::size_t i = 0; i < fit_terms; ++i) {
            equations.right[i] += one.weight * one.terms[i] * one.value;
            for (std::size_t j = 0; j < fit_terms; ++j)
                equations.matrix[i][j] += one.weight * one.terms[i] * one.terms[j];
        }
    for (std::size_t i = 0; i < fit_terms; ++i)
        equations.scale[i] = std::sqrt(equations.matrix[i][i]);
    for (std::size_t i = 0; i < fit_terms; ++i) {
        if (equations.scale[i] == 0) continue;
        equations.right[i] /= equations.scale[i];
        for (std::size_t j = 0; j < fit_terms; ++j)
            if (equations.scale[j] != 0)
                equations.matrix[i][j] /= equations.scale[i] * equations.scale[j];
    }
    return equations;
}

/// Solves for the terms in `chosen` alone, by Cholesky's decomposition; absent where one of them
/// follows from the others.
std::optional<std::vector<double>> solve(const NormalEquations& equations,
                                         const std::vector<std::size_t>& chosen) {
    constexpr double dependent = 1e-10;
    const std::size_t n = chosen.size();
    std::vector<std::vector<double>> lower(n, std::vector<double>(n));
    std::vector<double> x(n);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
            double rest = equations.matrix[chosen[i]][chosen[j]];
            for (std::size_t k = 0; k < j; ++k) rest -= lower[i][k] * lower[j][k];
            if (i == j && rest < dependent) return std::nullopt;
            lower[i][j] = i == j ? std::sqrt(rest) : rest / lower[j][j];
        }
        x[i] = equations.right[chosen[i]];
        for (std::size_t k = 0; k < i; ++k) x[i] -= lower[i][k] * x[k];
        x[i] /= lower[i][i];
    }
    for (std::size_t i = n; i-- > 0;) {
        for (std::size_t k = i + 1; k < n; ++k) x[i] -= lower[k][i] * x[k];
        x[i] /= lower[i][i];
    }
    return x;
}

double sum_of(const Terms& coefficients, const Terms& terms) {
    return std::inner_product(terms.begin(), terms.end(), coefficients.begin(), 0.0);
}

double median_size(const std::vector<double>& numbers) {
    std::vector<double> sizes;
    sizes.reserve(numbers.size());
    for (const double number : numbers) sizes.push_back(std::abs(number));
    const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
    std::nth_element(sizes.begin(), middle, sizes.end());
    if (sizes.size() % 2 == 1) return *middle;
    return (*middle + *std::max_element(sizes.begin(), middle)) / 2;
}

/// Robust standard deviation of residuals that are left by a fit that made some coefficients
/// `above` what they are at least.
double sigma_of(const std::vector<double>& residuals, const Terms& above) {
    const auto n = static_cast<double>(residuals.size());
    const auto fitted = static_cast<double>(
        std::count_if(above.begin(), above.end(), [](double c) { return c > 0; }));
    return 1.4826 * median_size(residuals) * std::sqrt(n / (n - fitted));
}

}  // namespace

Terms nonnegative_least_squares(std::span<const Observation> observations) {
    const NormalEquations equations = normal_equations(observations);
    Terms best{};
    double best_gain = 0;
    for (unsigned choice = 1; choice < 1U << fit_terms; ++choice) {
        std::vector<std::size_t> chosen;
        for (std::size_t i = 0; i < fit_terms; ++i)
            if ((choice >> i & 1U) != 0) chosen.push_back(i);
        const auto x = solve(equations, chosen);
        if (!x || std::any_of(x->begin(), x->end(), [](double c) { return c < 0; })) continue;
        // By so much the sum of squares is less than with all coefficients 0.
        double gain = 0;
        for (std::size_t i = 0; i < chosen.size(); ++i)
            gain += (*x)[i] * equations.right[chosen[i]];
        if (gain <= best_gain) continue;
        best_gain = gain;
        best = {};
        for (std::size_t i = 0; i < chosen.size(); ++i)
            best[chosen[i]] = (*x)[i] / equations.scale[chosen[i]];
    }
    return best;
}

std::optional<RobustFit> fit_robustly(std::span<const Observation> observations,
                                      const Terms& least) {
    if (observations.size() <= fit_terms) return std::nullopt;
    // Divided by its value each observation is to be 1, and what is left is a relative deviation.
    // What is fitted is by how much each coefficient is above the least.
    std::vector<Observation> relative(observations.begin(), observations.end());
    for (Observation& one : relative) {
        for (double& term : one.terms) term /= one.value;
        one.value = 1 - sum_of(least, one.terms);
    }
    RobustFit fit;
    Terms above{};
    std::vector<double> left(relative.size());
    constexpr int rounds = 50;
    constexpr double huber = 1.345;
    constexpr double smallest_sigma = 1e-9;  // of values that lie exactly on the fit
    for (int round = 0; round < rounds; ++round) {
        const Terms before = above;
        above = nonnegative_least_squares(relative);
        for (std::size_t i = 0; i < relative.size(); ++i)
            left[i] = relative[i].value - sum_of(above, relative[i].terms);
        fit.sigma = sigma_of(left, above);
        const double limit = huber * std::max(fit.sigma, smallest_sigma);
        for (std::size_t i = 0; i < relative.size(); ++i)
            relative[i].weight = observations[i].weight * std::min(1.0, limit / std::abs(left[i]));
        bool is_steady = true;
        for (std::size_t i = 0; i < fit_terms; ++i)
            is_steady = is_steady && std::abs(above[i] - before[i]) <= 1e-9 * above[i];
        if (is_steady) break;
    }
    if (!std::isfinite(fit.sigma)) return std::nullopt;
    for (std::size_t i = 0; i < fit_terms; ++i) fit.coefficients[i] = least[i] + above[i];
    for (const Observation& one : observations)
        fit.residuals.push_back(one.value / sum_of(fit.coefficients, one.terms) - 1);
    return fit;
}

}  // namespace isosweep
