#include <isosweep/protocol.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <vector>

#include "json_members.h"

namespace isosweep::protocol {
namespace json = boost::json;
namespace {

std::optional<std::int64_t> integer_member(const json::object& object, std::string_view name) {
    const json::value* value = object.if_contains(name);
    if (!value || !value->is_int64()) return std::nullopt;
    return value->get_int64();
}

std::string line_of(const json::object& object) { return json::serialize(object) + "\n"; }

Outcome invalid(std::string reason) {
    Outcome outcome;
    outcome.status = Status::invalid_result;
    outcome.message = std::move(reason);
    return outcome;
}

/// What is wrong with an array of times, or empty. `expected` absent: any number of them.
std::string problem_with_times(const json::object& holder, std::string_view name,
                               std::optional<std::int64_t> expected) {
    const json::value* times = holder.if_contains(name);
    const std::string label(name);
    if (!times) return expected == 0 ? std::string() : "the measurement has no " + label;
    if (!times->is_array()) return label + " is no array";
    const json::array& array = times->get_array();
    if (expected && static_cast<std::int64_t>(array.size()) != *expected)
        return label + " holds " + std::to_string(array.size()) + " times, expected " +
               std::to_string(*expected);
    for (std::size_t i = 0; i < array.size(); ++i) {
        const double time = array[i].is_number() ? array[i].to_number<double>() : NAN;
        if (!std::isfinite(time) || time <= 0)
            return label + "[" + std::to_string(i) + "] is " + json::serialize(array[i]) +
                   ", expected a finite positive number";
    }
    return {};
}

/// What is wrong with a cell's measurement, or empty.
std::string problem_with_cell(const json::object& measurement, const json::object& cell) {
    // A count that the request left to the worker ("auto") is whatever came.
    if (auto problem =
            problem_with_times(measurement, "samples_ms", integer_member(cell, "measure_steps"));
        !problem.empty())
        return problem;
    if (auto problem =
            problem_with_times(measurement, "warmup_ms", integer_member(cell, "warmup_steps"));
        !problem.empty())
        return problem;
    const std::size_t samples = measurement.at("samples_ms").get_array().size();
    if (samples == 0) return "samples_ms is empty";
    const json::value* phases = measurement.if_contains("phases_ms");
    if (!phases) return {};
    if (!phases->is_object()) return "phases_ms is no object";
    for (const auto& phase : phases->get_object())
        if (auto problem = problem_with_times(phases->get_object(), phase.key(),
                                              static_cast<std::int64_t>(samples));
            !problem.empty())
            return "phases_ms: " + problem;
    return {};
}

/// What is wrong with a probe's measurement, or empty.
std::string problem_with_probe(const json::object& measurement) {
    if (auto problem = problem_with_times(measurement, "samples_ms", {}); !problem.empty())
        return problem;
    const json::value* tflops = measurement.if_contains("tflops");
    if (!tflops) return "the measurement has no tflops";
    const double value = tflops->is_number() ? tflops->to_number<double>() : NAN;
    if (!std::isfinite(value) || value <= 0)
        return "tflops is " + json::serialize(*tflops) + ", expected a finite positive number";
    return {};
}

/// `problem_with` tells what is wrong with a measurement, or is empty.
template <class ProblemWith>
Outcome check(const json::object& line, ProblemWith&& problem_with) {
    const std::string name = string_member(line, "status");
    if (name.empty()) return invalid("the result has no status");
    const auto status = from_name<Status>(name);
    if (!status || !is_reportable(*status))
        return invalid("the result has the status '" + one_line(name, 50) +
                       "', which no worker may report");
    Outcome outcome;
    outcome.status = *status;
    if (const json::value* flags = line.if_contains("flags"); flags && flags->is_array())
        for (const json::value& flag : flags->get_array())
            if (flag.is_string()) outcome.flags.push_back(one_line(flag.get_string(), 100));
    const json::value* measurement = line.if_contains("measurement");
    if (*status == Status::ok) {
        if (!measurement || !measurement->is_object())
            return invalid("the result is ok and has no measurement");
        if (auto problem = problem_with(measurement->get_object()); !problem.empty())
            return invalid(std::move(problem));
        outcome.measurement = measurement->get_object();
        return outcome;
    }
    if (const json::value* error = line.if_contains("error"); error && error->is_object()) {
        outcome.error = error->get_object();
        outcome.message = one_line(string_member(outcome.error, "message"));
        outcome.phase = one_line(string_member(outcome.error, "phase"), 100);
    }
    if (outcome.message.empty())
        outcome.message = "the worker reported " + name + " without a message";
    return outcome;
}

}  // namespace

bool Hello::offers(std::string_view part) const {
    const json::value* const prepares = facts.if_contains("prepares");
    return prepares && prepares->is_array() &&
           std::find(prepares->get_array().begin(), prepares->get_array().end(),
                     json::value(part)) != prepares->get_array().end();
}

Reply parse_reply(std::string_view line, std::string_view nonce) {
    json::error_code problem;
    const json::value value = json::parse(line, problem);
    if (problem) {
        const bool meant_as_result = !nonce.empty() && line.find(nonce) != std::string_view::npos &&
                                     line.find("\"result\"") != std::string_view::npos;
        if (!meant_as_result) return Noise{};
        return Malformed{std::string(nonce),
                         "a result line that is no JSON: " + one_line(line, 200)};
    }
    if (!value.is_object()) return Noise{};
    const json::object& object = value.get_object();
    const std::string event = string_member(object, "event");
    const std::string line_nonce = string_member(object, "nonce");
    if (event == "hello") {
        const auto protocol = integer_member(object, "protocol");
        if (!protocol)
            return Malformed{{}, "a hello without a protocol number: " + one_line(line, 200)};
        return Hello{*protocol, object};
    }
    if (event == "phase") {
        const std::string phase = string_member(object, "phase");
        if (phase.empty()) return Malformed{line_nonce, "a phase line without a phase"};
        return Phase{line_nonce, one_line(phase, 100)};
    }
    if (event == "result") return Result{line_nonce, object};
    return Noise{};
}

Outcome check_result(const json::object& line, const json::object& cell) {
    return check(line, [&](const json::object& measurement) {
        return problem_with_cell(measurement, cell);
    });
}

Outcome check_probe_result(const json::object& line) { return check(line, problem_with_probe); }

Request parse_request(std::string_view line) {
    json::error_code problem;
    const json::value value = json::parse(line, problem);
    if (problem || !value.is_object())
        throw std::runtime_error("a request that is no JSON object: " + one_line(line, 200));
    const json::object& object = value.get_object();
    if (integer_member(object, "protocol") != version)
        throw std::runtime_error("a request of another protocol than " + std::to_string(version) +
                                 ": " + one_line(line, 200));
    if (std::string part = string_member(object, "prepare"); !part.empty())
        return {{}, {}, {}, std::move(part)};
    const json::value* cell = object.if_contains("cell");
    const json::value* probe = object.if_contains("probe");
    Request request{string_member(object, "nonce"), {}};
    const json::value* const asked = probe ? probe : cell;
    if (request.nonce.empty() || !asked || !asked->is_object())
        throw std::runtime_error("a request without nonce, or without cell or probe: " +
                                 one_line(line, 200));
    (probe ? request.probe : request.cell) = asked->get_object();
    return request;
}

std::string request_line(const Request& request) {
    json::object object{{"protocol", version}, {"nonce", request.nonce}};
    if (request.probe.empty())
        object["cell"] = request.cell;
    else
        object["probe"] = request.probe;
    return line_of(object);
}

std::string prepare_line(std::string_view part) {
    return line_of({{"protocol", version}, {"prepare", part}});
}

std::string hello_line(json::object facts) {
    json::object object{{"event", "hello"}, {"protocol", version}};
    for (auto& fact : facts) object[fact.key()] = fact.value();
    return line_of(object);
}

std::string phase_line(std::string_view nonce, std::string_view phase) {
    return line_of({{"event", "phase"}, {"nonce", nonce}, {"phase", phase}});
}

std::string ok_line(std::string_view nonce, json::object measurement,
                    const std::vector<std::string>& flags) {
    json::object object{{"event", "result"}, {"nonce", nonce}, {"status", "ok"}};
    if (!flags.empty()) object["flags"] = json::array(flags.begin(), flags.end());
    object["measurement"] = std::move(measurement);
    return line_of(object);
}

std::string failure_line(std::string_view nonce, Status status, json::object error) {
    return line_of({{"event", "result"},
                    {"nonce", nonce},
                    {"status", to_name(status)},
                    {"error", std::move(error)}});
}

}  // namespace isosweep::protocol
