#include <isosweep/outcome.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <stdexcept>

namespace isosweep {
namespace json = boost::json;

bool is_final(Status status) {
    using enum Status;
    switch (status) {
        case ok:
        case oom_gpu:
        case oom_host:
        case timeout:
        case crash:
        case error:
        case unsupported:
        case invalid_result:
            return true;
        case spawn_failed:
        case interrupted:
        case skipped:
        case not_run:
            return false;
    }
    return false;
}

bool is_failed(Status status) {
    using enum Status;
    switch (status) {
        case timeout:
        case crash:
        case error:
        case invalid_result:
        case spawn_failed:
        case interrupted:
        case not_run:
            return true;
        case ok:
        case oom_gpu:
        case oom_host:
        case unsupported:
        case skipped:
            return false;
    }
    return true;
}

bool is_reportable(Status status) {
    using enum Status;
    switch (status) {
        case ok:
        case oom_gpu:
        case oom_host:
        case error:
        case unsupported:
        case invalid_result:
        case crash:
            return true;
        case timeout:
        case spawn_failed:
        case interrupted:
        case skipped:
        case not_run:
            return false;
    }
    return false;
}

json::object to_json(const Outcome& outcome) {
    json::object object;
    object["status"] = std::string(to_name(outcome.status));
    if (!outcome.message.empty()) object["message"] = outcome.message;
    if (!outcome.phase.empty()) object["phase"] = outcome.phase;
    if (outcome.exit_code) object["exit_code"] = *outcome.exit_code;
    if (!outcome.signal.empty()) object["signal"] = outcome.signal;
    if (!outcome.flags.empty())
        object["flags"] = json::array(outcome.flags.begin(), outcome.flags.end());
    if (outcome.noise_lines > 0) object["noise_lines"] = outcome.noise_lines;
    if (!outcome.measurement.empty()) object["measurement"] = outcome.measurement;
    if (!outcome.error.empty()) object["error"] = outcome.error;
    return object;
}

Status status_from_json(const json::object& object) {
    const std::string_view status = object.at("status").as_string();
    const auto known = from_name<Status>(status);
    if (!known) throw std::runtime_error("unknown status '" + std::string(status) + "'");
    return *known;
}

Outcome outcome_from_json(const json::object& object) {
    Outcome outcome;
    outcome.status = status_from_json(object);
    const auto text = [&](const char* name) {
        const json::value* value = object.if_contains(name);
        return value ? std::string(value->as_string()) : std::string();
    };
    outcome.message = text("message");
    outcome.phase = text("phase");
    outcome.signal = text("signal");
    if (const json::value* code = object.if_contains("exit_code"))
        outcome.exit_code = static_cast<int>(code->as_int64());
    if (const json::value* flags = object.if_contains("flags"))
        for (const json::value& flag : flags->as_array())
            outcome.flags.emplace_back(flag.as_string());
    if (const json::value* noise = object.if_contains("noise_lines"))
        outcome.noise_lines = noise->as_int64();
    if (const json::value* measurement = object.if_contains("measurement"))
        outcome.measurement = measurement->as_object();
    if (const json::value* error = object.if_contains("error")) outcome.error = error->as_object();
    return outcome;
}

}  // namespace isosweep
