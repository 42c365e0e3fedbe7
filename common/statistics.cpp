#include <isosweep/statistics.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <cmath>
#include <vector>

namespace isosweep {

std::optional<double> Statistics::cv_percent() const {
    if (mean == 0) return std::nullopt;
    return 100 * population_std / mean;
}

std::optional<Statistics> summarize(std::span<const double> samples) {
    if (samples.empty()) return std::nullopt;
    std::vector<double> sorted(samples.begin(), samples.end());
    std::sort(sorted.begin(), sorted.end());
    const auto n = static_cast<double>(sorted.size());

    Statistics statistics;
    statistics.n = sorted.size();
    statistics.min = sorted.front();
    statistics.max = sorted.back();
    const std::size_t middle = sorted.size() / 2;
    statistics.median = sorted.size() % 2 == 1
                            ? sorted[middle]
                            : sorted[middle - 1] + (sorted[middle] - sorted[middle - 1]) / 2;
    // Around the median, so that a large common offset costs no digits.
    double sum = 0;
    for (const double sample : samples) sum += sample - statistics.median;
    const double shift = sum / n;
    statistics.mean = statistics.median + shift;
    double squares = 0;
    for (const double sample : samples) {
        const double deviation = sample - statistics.mean;
        squares += deviation * deviation;
    }
    statistics.population_std = std::sqrt(squares / n);
    if (sorted.size() > 1) statistics.sample_std = std::sqrt(squares / (n - 1));
    return statistics;
}

std::optional<Statistics> summarize(const boost::json::object& holder, std::string_view name) {
    const boost::json::value* const numbers = holder.if_contains(name);
    if (!numbers || !numbers->is_array()) return std::nullopt;
    std::vector<double> samples;
    for (const boost::json::value& number : numbers->get_array())
        samples.push_back(number.to_number<double>());
    return summarize(samples);
}

}  // namespace isosweep
