#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// A measurement's members as whoever wrote it may have sent them: what is not there, or is
/// something else, is absent.
namespace isosweep {

/// A finite number.
inline std::optional<double> number_member(const boost::json::object& holder,
                                           std::string_view name) {
    const boost::json::value* const value = holder.if_contains(name);
    if (!value || !value->is_number()) return std::nullopt;
    const auto number = value->to_number<double>();
    if (!std::isfinite(number)) return std::nullopt;
    return number;
}

/// An array of finite numbers; empty where it is not one.
inline std::vector<double> numbers_member(const boost::json::object& holder,
                                          std::string_view name) {
    const boost::json::value* const values = holder.if_contains(name);
    if (!values || !values->is_array()) return {};
    std::vector<double> numbers;
    numbers.reserve(values->get_array().size());
    for (const boost::json::value& value : values->get_array()) {
        if (!value.is_number() || !std::isfinite(value.to_number<double>())) return {};
        numbers.push_back(value.to_number<double>());
    }
    return numbers;
}

inline std::string string_member(const boost::json::object& holder, std::string_view name) {
    const boost::json::value* const value = holder.if_contains(name);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// Whether the member is exactly this switch.
inline bool is_switch(const boost::json::object& holder, std::string_view name, bool state) {
    const boost::json::value* const value = holder.if_contains(name);
    return value && value->is_bool() && value->get_bool() == state;
}

}  // namespace isosweep
