#pragma once

#include <boost/json/object.hpp>
#include <optional>

namespace isosweep {

/// What the parts of an attempt took, in milliseconds; absent where it did not come to them.
struct AttemptTimes {
    std::optional<double> wait;    ///< before it: until its GPU was as before
    std::optional<double> start;   ///< from its begin to the request: the worker's start
    std::optional<double> answer;  ///< from the request to the result
    std::optional<double> exit;    ///< from the result to the end of the process
};

/// As a part of a journal record, and the reverse.
boost::json::object to_json(const AttemptTimes& times);
AttemptTimes attempt_times_from_json(const boost::json::object& object);

}  // namespace isosweep
