// A worker that misbehaves on request: the cell's custom axis `behaviour` says how, as a word with
// up to one argument behind a ':' ("crash:11"). It speaks the protocol of docs/PROTOCOL.md and uses
// no Torch. The folder FAKE_WORKER_DIR, where set, keeps a line per request it answered.

#include <fcntl.h>
#include <isosweep/protocol.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <thread>

namespace {

namespace json = boost::json;
namespace protocol = isosweep::protocol;

void say(const std::string& bytes) {
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    std::fflush(stdout);
}

void sleep_ms(int milliseconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

/// Ends by this signal, also where a sanitizer would catch it.
void die_by(int number) {
    ::signal(number, SIG_DFL);
    ::raise(number);
}

[[noreturn]] void sleep_for_ever() {
    while (true) sleep_ms(1000);
}

/// How many steps a request asks for; `usual` where it leaves that to the worker.
std::int64_t steps_of(const json::object& cell, const char* name, std::int64_t usual) {
    const json::value& steps = cell.at(name);
    return steps.is_int64() ? steps.get_int64() : usual;
}

json::object measurement(const json::object& cell) {
    json::array warmup;
    json::array samples;
    json::array forward;
    json::array backward;
    for (std::int64_t i = 0; i < steps_of(cell, "warmup_steps", 5); ++i) warmup.emplace_back(9.5);
    for (std::int64_t i = 0; i < steps_of(cell, "measure_steps", 10); ++i) {
        samples.emplace_back(1.5 + 0.25 * static_cast<double>(i % 2));
        forward.emplace_back(0.5);
        backward.emplace_back(1.0);
    }
    json::object result{{"num_params", 42}, {"warmup_ms", warmup}, {"samples_ms", samples}};
    if (cell.at("pass_type") == "forward_backward")
        result["phases_ms"] = {{"forward", forward}, {"backward", backward}};
    return result;
}

/// Steps of 10 ms that vary by 0.2 %, times FAKE_WORKER_SCALE where it is set.
json::array steady_samples(std::int64_t steps) {
    const char* const variable = std::getenv("FAKE_WORKER_SCALE");
    const double scale = variable ? std::stod(variable) : 1;
    json::array samples;
    for (std::int64_t i = 0; i < steps; ++i)
        samples.emplace_back(scale * (10 + 0.002 * static_cast<double>(i * 7 % 10)));
    return samples;
}

/// Whether this is the first time that the cell is asked for, over all processes.
bool is_first_time(const std::string& nonce_free_name) {
    const char* const folder = std::getenv("FAKE_WORKER_DIR");
    const std::string file = std::string(folder ? folder : "/tmp") + "/seen-" + nonce_free_name;
    const int fd = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd >= 0) ::close(fd);
    return fd >= 0;
}

/// Adds a line to a file of the folder.
void note(const std::string& file, const std::string& line) {
    if (const char* const folder = std::getenv("FAKE_WORKER_DIR"))
        std::ofstream(std::string(folder) + "/" + file, std::ios::app) << line << "\n";
}

void count_answer(const std::string& behaviour) { note("answered", behaviour); }

/// How many requests were answered so far, over all processes.
int count_answers() {
    const char* const folder = std::getenv("FAKE_WORKER_DIR");
    std::ifstream file(std::string(folder ? folder : "/tmp") + "/answered");
    return static_cast<int>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
}

void slow_down(json::object& measurement, double factor) {
    for (json::value& sample : measurement.at("samples_ms").as_array())
        sample = factor * sample.as_double();
}

/// FAKE_WORKER_PROBE says how: "fail" or "hang", else well.
void answer_probe(const protocol::Request& request) {
    const char* const variable = std::getenv("FAKE_WORKER_PROBE");
    const std::string how = variable ? variable : "";
    const std::string precision(request.probe.at("precision").as_string());
    if (const char* const folder = std::getenv("FAKE_WORKER_DIR"))
        std::ofstream(std::string(folder) + "/probed", std::ios::app) << precision << " ";
    say(protocol::phase_line(request.nonce, "measure"));
    if (how == "hang") sleep_for_ever();
    if (how == "fail")
        say(protocol::failure_line(request.nonce, isosweep::Status::oom_gpu,
                                   {{"message", "no room"}}));
    else
        say(protocol::ok_line(request.nonce, {{"probe", "matmul"},
                                              {"precision", precision},
                                              {"samples_ms", {1.5, 1.5}},
                                              {"tflops", 733},
                                              {"device_name", "Fake GPU"}}));
}

void answer(const protocol::Request& request) {
    if (!request.probe.empty()) return answer_probe(request);
    const json::value* value = request.cell.if_contains("behaviour");
    const std::string text = value ? std::string(value->as_string()) : "ok";
    const std::string behaviour = text.substr(0, text.find(':'));
    std::string argument =
        text.find(':') == std::string::npos ? "" : text.substr(text.find(':') + 1);
    const std::string& nonce = request.nonce;
    const std::string ok = protocol::ok_line(nonce, measurement(request.cell));
    const auto number = [&](int otherwise) {
        return argument.empty() ? otherwise : std::stoi(argument);
    };

    if (behaviour == "crash_untaken") die_by(SIGSEGV);
    if (behaviour == "exit_untaken") ::_exit(7);
    if (behaviour == "silent") sleep_for_ever();
    say(protocol::phase_line(nonce, "build"));
    if (behaviour == "build") sleep_ms(number(300));
    if (behaviour == "memory") sleep_ms(150);
    say(protocol::phase_line(nonce, "measure"));

    if (behaviour == "memory") {
        sleep_ms(400);
        say(protocol::phase_line(nonce, "memory"));
        sleep_ms(number(300));
    }
    if (behaviour == "cleanup") {
        say(protocol::phase_line(nonce, "cleanup"));
        sleep_ms(number(300));
    }
    if (behaviour == "slow") sleep_ms(number(300));
    if (behaviour == "crash") die_by(number(SIGSEGV));
    if (behaviour == "crash_once" && is_first_time(text)) die_by(SIGSEGV);
    if (behaviour == "exit") ::_exit(number(0));
    if (behaviour == "hang") sleep_for_ever();
    if (behaviour == "lively")
        for (int i = 0; i < 10; ++i) {
            sleep_ms(100);
            say(protocol::phase_line(nonce, "measure"));
        }
    if (behaviour == "ignore_term") {
        ::signal(SIGTERM, SIG_IGN);
        sleep_for_ever();
    }
    if (behaviour == "close_stdout") {
        ::close(STDOUT_FILENO);
        sleep_for_ever();
    }
    if (behaviour == "grandchild") {
        // It leaves the group's leader, keeps our pipes, and would live for ever.
        if (::fork() == 0) sleep_for_ever();
    }
    if (behaviour == "escape_once" && is_first_time(text)) {
        // A session of its own, and nothing that would end with us; then we hang.
        if (::fork() == 0) {
            ::setsid();
            for (int fd = 0; fd < 3; ++fd) ::close(fd);
            sleep_for_ever();
        }
        sleep_for_ever();
    }
    if (behaviour == "hold_once" && is_first_time(text)) sleep_for_ever();
    if (behaviour == "allocate") {
        const std::string touched(static_cast<std::size_t>(number(1)) << 20, 'x');
        std::fprintf(stderr, "%zu bytes\n", touched.size());
    }
    if (behaviour == "escape") {
        // Out of the process group, and without a parent: only the control group still has it.
        if (::fork() == 0) {
            ::setsid();
            if (::fork() != 0) ::_exit(0);
            if (const char* const folder = std::getenv("FAKE_WORKER_DIR"))
                std::ofstream(std::string(folder) + "/escaped") << ::getpid() << "\n";
            sleep_for_ever();
        }
        sleep_ms(number(300));
    }
    if (behaviour == "garbage") say("some library says hello\n{\"event\":\"result\"}\n\x01\xff\n");
    if (behaviour == "chatty") {
        const std::string line(1000, 'x');
        for (int i = 0; i < 3000; ++i) std::fprintf(stderr, "%d %s\n", i, line.c_str());
    }
    if (behaviour == "half_line") {
        say(ok.substr(0, ok.size() / 2));
        ::_exit(0);
    }
    if (behaviour == "half_line_crash") {
        say(ok.substr(0, ok.size() / 2));
        die_by(SIGKILL);
    }
    if (behaviour == "huge_line") {
        const std::string part(1 << 20, 'y');
        for (int i = 0; i < 17; ++i) say(part);
        say("\n");
    }
    if (behaviour == "noise_half_line") {
        say(ok);
        say("no end");
        ::_exit(0);
    }
    // What is left behind on the GPU: a line for FAKE_NVML_STATE, with '_' for blanks.
    if (behaviour == "leave_gpu") {
        for (char& c : argument)
            if (c == '_') c = ' ';
        if (const char* const file = std::getenv("FAKE_NVML_STATE"))
            std::ofstream(file) << argument << "\n";
    }
    if (behaviour == "oom_above" || behaviour == "fault_above") {
        // Tokens of a batch that this GPU has room for, with and without checkpointing.
        const std::int64_t tokens =
            request.cell.at("batch_size").as_int64() * request.cell.at("context_length").as_int64();
        const bool checkpointing = request.cell.at("activation_checkpointing") == "on";
        const std::int64_t room = number(512);
        if (tokens > (checkpointing ? 2 * room : room)) {
            say(protocol::failure_line(
                nonce,
                behaviour == "oom_above" ? isosweep::Status::oom_gpu : isosweep::Status::crash,
                {{"phase", "forward"}, {"message", "no room"}}));
            count_answer(text);
            return;
        }
    }
    if (behaviour == "no_gpu") {
        say(protocol::failure_line(nonce, isosweep::Status::error,
                                   {{"message", "no CUDA device"}, {"environment", true}}));
        return;
    }
    if (behaviour == "flood") {
        const std::string part(1 << 20, 'f');
        for (int i = 0; i < number(16); ++i) std::fwrite(part.data(), 1, part.size(), stderr);
    }
    if (behaviour == "report") {
        say(protocol::failure_line(
            nonce, *isosweep::from_name<isosweep::Status>(argument),
            {{"phase", "backward"}, {"message", "told to"}, {"requested_bytes", 1024}}));
        count_answer(text);
        return;
    }
    json::object changed = measurement(request.cell);
    if (behaviour == "nan") {
        say("{\"event\":\"result\",\"nonce\":\"" + nonce +
            "\",\"status\":\"ok\",\"measurement\":{\"samples_ms\":[NaN]}}\n");
        return;
    }
    // A machine that is half as fast from one answer to another ("paced:8-20"), and one that
    // becomes slower with each.
    if (behaviour == "paced") {
        const int answer = count_answers() + 1;
        const int last = std::stoi(argument.substr(argument.find('-') + 1));
        if (answer >= number(0) && answer <= last) slow_down(changed, 2);
    }
    if (behaviour == "slowing") slow_down(changed, std::pow(1.1, count_answers()));
    if (behaviour == "steady")
        changed["samples_ms"] = steady_samples(request.cell.at("measure_steps").as_int64());
    if (behaviour == "negative") changed["samples_ms"].as_array()[0] = -1.0;
    if (behaviour == "zero") changed["samples_ms"].as_array()[0] = 0;
    if (behaviour == "too_few") changed["samples_ms"].as_array().pop_back();
    if (behaviour == "no_samples") changed.erase("samples_ms");
    if (behaviour == "unknown_status") {
        say("{\"event\":\"result\",\"nonce\":\"" + nonce + "\",\"status\":\"fine\"}\n");
        return;
    }
    if (behaviour == "other_nonce") say(protocol::ok_line("somebody-else", changed));
    if (behaviour == "gpu")
        changed["gpu_seen"] =
            std::getenv("CUDA_VISIBLE_DEVICES") ? std::getenv("CUDA_VISIBLE_DEVICES") : "none";
    if (behaviour == "place") {
        // Where it runs, when all of its kind do.
        sleep_ms(number(300));
        cpu_set_t cpus;
        ::sched_getaffinity(0, sizeof cpus, &cpus);
        std::string seen;
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &cpus)) seen += (seen.empty() ? "" : ",") + std::to_string(cpu);
        changed["cpus_seen"] = seen;
        changed["threads_seen"] =
            std::getenv("OMP_NUM_THREADS") ? std::getenv("OMP_NUM_THREADS") : "unset";
    }
    if (behaviour == "flags") {
        say(protocol::ok_line(nonce, changed, {"throttled", "outliers"}));
        count_answer(text);
        return;
    }
    // Two at once: a second one that comes after the next request would be noise by then.
    say(protocol::ok_line(nonce, changed) + (behaviour == "result_twice" ? ok : ""));
    count_answer(text);
    if (behaviour == "result_then_crash") die_by(SIGSEGV);
    if (behaviour == "result_then_exit") ::_exit(3);
    if (behaviour == "result_then_hang") {
        ::signal(SIGTERM, SIG_IGN);
        sleep_for_ever();
    }
}

void serve() {
    std::string line;
    while (std::getline(std::cin, line)) {
        const protocol::Request request = protocol::parse_request(line);
        if (request.prepare.empty())
            answer(request);
        else
            note("prepared", request.prepare);
    }
}

}  // namespace

int main() {
    const char* const start = std::getenv("FAKE_WORKER_START");
    const std::string how = start ? start : "";
    if (how == "no_hello") sleep_for_ever();
    if (how == "dies") {
        std::fputs("cannot find a library\n", stderr);
        return 127;
    }
    if (how == "slow") sleep_ms(300);
    // The second one that is started ends, says nothing, or is another build, which takes it a
    // while to say, before anybody asks it for something.
    std::string build = how.empty() ? "fake" : how;
    if (how.starts_with("second_") && !is_first_time("start") && is_first_time("second-start")) {
        if (how == "second_hangs") sleep_for_ever();
        if (how == "second_ends") return 3;
        if (how == "second_helped") {
            // Somebody outside of the group says it, also while the group is stopped.
            if (::fork() == 0) {
                ::setsid();
                sleep_ms(300);
                say(protocol::hello_line({{"torch", ""}, {"build", how}}));
                ::_exit(0);
            }
            serve();
            return 0;
        }
        sleep_ms(300);
        build = "newer";
    }
    if (how == "protocol_2")
        say("{\"event\":\"hello\",\"protocol\":2}\n");
    else
        say(protocol::hello_line(
            {{"pid", ::getpid()},
             {"torch", ""},
             {"build", build},
             {"prepares", how == "prepares" ? json::array{"driver", "context"} : json::array{}}}));
    if (how == "deaf") sleep_for_ever();
    serve();
}
