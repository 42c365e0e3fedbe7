#pragma once

#include <isosweep/outcome.h>

#include <boost/json/object.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

/// The protocol between orchestrator and worker, version 1: one JSON object a line
/// (docs/PROTOCOL.md).
namespace isosweep::protocol {

inline constexpr int version = 1;
inline constexpr std::size_t max_line_bytes = std::size_t{16} << 20;

/// First line of a worker. Everything but the version and the pid is for the record.
struct Hello {
    std::int64_t protocol = 0;
    boost::json::object facts;  ///< the whole line: pid, torch, build, ...

    /// Whether it can do this part of its work before there is a request: "prepares" holds it.
    bool offers(std::string_view part) const;
};
/// A sign of life: what the worker does now.
struct Phase {
    std::string nonce;
    std::string phase;
};
/// The end of a request, as sent; not yet checked against the cell (see `check_result`).
struct Result {
    std::string nonce;
    boost::json::object line;
};
/// A line that was meant as an event of the protocol and is not well formed: what is wrong with it.
struct Malformed {
    std::string nonce;  ///< empty where the line does not tell
    std::string reason;
};
/// Anything else: a library that prints.
struct Noise {};

using Reply = std::variant<Hello, Phase, Result, Malformed, Noise>;

/// Reads one line of a worker, without its '\n'. Never throws: whatever it is not, it is Noise.
/// A line that is no JSON but names `nonce` and "result" is Malformed, not Noise: Python writes
/// NaN.
Reply parse_reply(std::string_view line, std::string_view nonce);

/// The outcome that a result line stands for, given what the request asked for: the worker's own
/// status, or invalid_result with the reason (docs/PROTOCOL.md lists them).
Outcome check_result(const boost::json::object& line, const boost::json::object& cell);

/// Likewise for a request that held a probe.
Outcome check_probe_result(const boost::json::object& line);

/// A request, which asks for a cell or for a probe: a measurement of the device itself.
struct Request {
    std::string nonce;
    boost::json::object cell;        ///< empty: the request asks for `probe`
    boost::json::object probe = {};  ///< {"name":"matmul","precision":"bf16"}; empty: for `cell`
    /// No request yet, but what it will need: "driver", "context". It is not answered.
    std::string prepare = {};
};

/// Reads a request line. \throws std::runtime_error with one line that says what is wrong
Request parse_request(std::string_view line);

/// The lines, each with its '\n'.
std::string request_line(const Request& request);
std::string prepare_line(std::string_view part);
std::string hello_line(boost::json::object facts);
std::string phase_line(std::string_view nonce, std::string_view phase);
/// `flags` say when not to believe a measurement.
std::string ok_line(std::string_view nonce, boost::json::object measurement,
                    const std::vector<std::string>& flags = {});
std::string failure_line(std::string_view nonce, Status status, boost::json::object error);

}  // namespace isosweep::protocol
