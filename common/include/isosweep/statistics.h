#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace isosweep {

/// What a series of samples says, in the samples' unit. Quantiles interpolate linearly at
/// h = (n - 1) p (Hyndman and Fan 1996, type 7).
struct Statistics {
    std::size_t n = 0;
    double mean = 0;
    double population_std = 0;         ///< sqrt(sum (x - mean)^2 / n), as the original module's
    std::optional<double> sample_std;  ///< sqrt(sum (x - mean)^2 / (n - 1)); absent for n = 1
    double median = 0;
    double min = 0;
    double max = 0;

    /// Population standard deviation over mean, in percent, as the original module's; absent where
    /// the mean is 0.
    std::optional<double> cv_percent() const;
};

/// Statistics of at least one finite sample; absent for none.
std::optional<Statistics> summarize(std::span<const double> samples);

/// Those of an array of numbers in a measurement, as "samples_ms"; absent where there is none.
std::optional<Statistics> summarize(const boost::json::object& holder, std::string_view name);

}  // namespace isosweep
