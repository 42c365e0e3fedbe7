#include "orchestrator/attempt_times.h"

#include <boost/json/value.hpp>

namespace isosweep {
namespace json = boost::json;
namespace {

/// Calls `visit(name, member)` for each of them.
template <class Times, class Visit>
void for_each_part(Times& times, Visit&& visit) {
    visit("wait", times.wait);
    visit("start", times.start);
    visit("answer", times.answer);
    visit("exit", times.exit);
}

}  // namespace

json::object to_json(const AttemptTimes& times) {
    json::object object;
    for_each_part(times, [&](const char* name, const std::optional<double>& part) {
        if (part) object[name] = *part;
    });
    return object;
}

AttemptTimes attempt_times_from_json(const json::object& object) {
    AttemptTimes times;
    for_each_part(times, [&](const char* name, std::optional<double>& part) {
        if (const json::value* const value = object.if_contains(name); value && value->is_number())
            part = value->to_number<double>();
    });
    return times;
}

}  // namespace isosweep
