#include <doctest/doctest.h>
#include <isosweep/protocol.h>

#include <boost/json/parse.hpp>

using namespace isosweep;
using namespace isosweep::protocol;
namespace json = boost::json;

namespace {

Outcome check(const char* result, const char* cell = R"({"warmup_steps":1,"measure_steps":2})") {
    return check_result(json::parse(result).as_object(), json::parse(cell).as_object());
}

}  // namespace

TEST_CASE("lines are told apart, and what is none of ours is noise") {
    CHECK(std::holds_alternative<Hello>(parse_reply(R"({"event":"hello","protocol":1})", "n")));
    CHECK(std::get<Hello>(parse_reply(R"({"event":"hello","protocol":7})", "n")).protocol == 7);
    CHECK(std::get<Phase>(parse_reply(R"({"event":"phase","nonce":"n","phase":"build"})", "n"))
              .phase == "build");
    CHECK(std::holds_alternative<Result>(parse_reply(R"({"event":"result","nonce":"n"})", "n")));
    for (const char* noise : {"", "hello", "{", "[]", "3", "{}", R"({"event":"party"})"})
        CHECK(std::holds_alternative<Noise>(parse_reply(noise, "n")));
    CHECK(std::holds_alternative<Malformed>(parse_reply(R"({"event":"hello"})", "n")));
}

TEST_CASE("a result that Python wrote with NaN is broken, not noise") {
    const std::string line = R"({"event": "result", "nonce": "abc", "samples_ms": [NaN]})";
    CHECK(std::holds_alternative<Malformed>(parse_reply(line, "abc")));
    CHECK(std::holds_alternative<Noise>(parse_reply(line, "other")));
}

TEST_CASE("a good result keeps its measurement, unknown fields included") {
    const Outcome outcome = check(
        R"({"status":"ok","measurement":{"warmup_ms":[9],"samples_ms":[1,2.5],"extra":"x"}})");
    CHECK(outcome.status == Status::ok);
    CHECK(outcome.measurement.at("extra") == "x");
    CHECK(check(R"({"status":"ok","measurement":{"samples_ms":[1,2]}})",
                R"({"warmup_steps":0,"measure_steps":2})")
              .status == Status::ok);
    CHECK(check(R"({"status":"ok","measurement":{"warmup_ms":[1,2,3],"samples_ms":[1,2]}})",
                R"({"warmup_steps":"auto","measure_steps":2})")
              .status == Status::ok);
}

TEST_CASE("a result that cannot be true is invalid, with the reason") {
    const std::pair<const char*, const char*> cases[] = {
        {R"({})", "the result has no status"},
        {R"({"status":"fine"})", "the result has the status 'fine', which no worker may report"},
        {R"({"status":"timeout"})",
         "the result has the status 'timeout', which no worker may report"},
        {R"({"status":"ok"})", "the result is ok and has no measurement"},
        {R"({"status":"ok","measurement":{}})", "the measurement has no samples_ms"},
        {R"({"status":"ok","measurement":{"samples_ms":[1]}})",
         "samples_ms holds 1 times, expected 2"},
        {R"({"status":"ok","measurement":{"samples_ms":[1,0]}})",
         "samples_ms[1] is 0, expected a finite positive number"},
        {R"({"status":"ok","measurement":{"samples_ms":[1,-2]}})",
         "samples_ms[1] is -2, expected a finite positive number"},
        {R"({"status":"ok","measurement":{"samples_ms":[1,"2"]}})",
         "samples_ms[1] is \"2\", expected a finite positive number"},
        {R"({"status":"ok","measurement":{"samples_ms":[1,1e999]}})",
         "samples_ms[1] is Infinity, expected a finite positive number"},
        {R"({"status":"ok","measurement":{"samples_ms":[1,2]}})",
         "the measurement has no warmup_ms"},
        {R"({"status":"ok","measurement":{"samples_ms":[1,2],"warmup_ms":[1],"phases_ms":{"forward":[1]}}})",
         "phases_ms: forward holds 1 times, expected 2"},
    };
    for (const auto& [line, reason] : cases) {
        CAPTURE(std::string(line));
        const Outcome outcome = check(line);
        CHECK(outcome.status == Status::invalid_result);
        CHECK(outcome.message == std::string(reason));
    }
}

TEST_CASE("a failure keeps what the worker told of it") {
    const Outcome outcome = check(
        R"({"status":"oom_gpu","error":{"phase":"backward","message":"out\nof memory","free_bytes":5}})");
    CHECK(outcome.status == Status::oom_gpu);
    CHECK(outcome.phase == "backward");
    CHECK(outcome.message == "out of memory");
    CHECK(outcome.error.at("free_bytes") == 5);
}

TEST_CASE("a request goes through a line, and a bad one says why") {
    const Request request = parse_request(request_line({"n1", {{"batch_size", 4}}}));
    CHECK(request.nonce == "n1");
    CHECK(request.cell.at("batch_size") == 4);
    CHECK_THROWS_WITH(parse_request("hello"), "a request that is no JSON object: hello");
    CHECK_THROWS(parse_request(R"({"protocol":2,"nonce":"n","cell":{}})"));
    CHECK_THROWS(parse_request(R"({"protocol":1,"cell":{}})"));
    CHECK_THROWS(parse_request(R"({"protocol":1,"nonce":"n"})"));
}

TEST_CASE("a request for a probe goes through a line, too, and its result is checked") {
    const Request request =
        parse_request(request_line({"n1", {}, {{"name", "matmul"}, {"precision", "bf16"}}}));
    CHECK(request.cell.empty());
    CHECK(request.probe.at("precision") == "bf16");
    const auto message = [](const char* measurement) {
        const std::string line = R"({"status":"ok","measurement":)" + std::string(measurement);
        return check_probe_result(json::parse(line + "}").as_object()).message;
    };
    CHECK(message(R"({"samples_ms":[1.5,1.5],"tflops":700})") == "");
    CHECK(message(R"({"samples_ms":[1.5]})") == "the measurement has no tflops");
    CHECK(message(R"({"samples_ms":[1.5],"tflops":-1})") ==
          "tflops is -1, expected a finite positive number");
    CHECK(message(R"({"samples_ms":[0],"tflops":1})") ==
          "samples_ms[0] is 0, expected a finite positive number");
    CHECK(check_probe_result({{"status", "unsupported"}, {"error", {{"message", "no"}}}}).status ==
          Status::unsupported);
}

TEST_CASE("flags travel beside a measurement") {
    const json::object measurement{{"samples_ms", {1.0, 2.0}}, {"warmup_ms", {1.0}}};
    const std::string flagged = ok_line("n", measurement, {"throttled", "outliers"});
    CHECK(check(flagged.c_str()).flags == std::vector<std::string>{"throttled", "outliers"});
    CHECK(ok_line("n", measurement).find("flags") == std::string::npos);
}
