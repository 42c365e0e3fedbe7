// The program as isosweep and people run it: real processes, on the CPU.

#include "program.h"

#include <doctest/doctest.h>
#include <isosweep/cell.h>
#include <isosweep/protocol.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "errors.h"
#include "options.h"
#include "output.h"
#include "report.h"

namespace isosweep {
namespace {

namespace json = boost::json;
using Words = std::vector<std::string>;

const Words tiny_model = {"--model-size",   "tiny", "--context-length", "8", "--batch-size", "1",
                          "--warmup-steps", "1",    "--measure-steps",  "2", "--device",     "cpu"};

Words tiny_with(const Words& more) {
    Words words = tiny_model;
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

json::object tiny_cell() {
    return {{"model_size", "tiny"}, {"context_length", 8}, {"batch_size", 1},
            {"warmup_steps", 1},    {"measure_steps", 2},  {"device", "cpu"}};
}

std::string request(const std::string& nonce, const json::object& cell) {
    return protocol::request_line({nonce, cell});
}

/// A line as "event[ nonce phase-or-status[: message]]".
std::string gist(const std::string& line) {
    const json::object object = json::parse(line).as_object();
    const auto text = [&](const char* key) { return std::string(object.at(key).as_string()); };
    if (text("event") == "hello") return "hello";
    if (text("event") == "phase") return "phase " + text("nonce") + " " + text("phase");
    std::string gist = "result " + text("nonce") + " " + text("status");
    if (const auto* error = object.if_contains("error"))
        gist += ": " + std::string(error->as_object().at("message").as_string());
    return gist;
}

/// All lines; signs of life, which a slow machine brings about, are left out.
std::string gists(const ProgramRun& run) {
    std::string all;
    std::string last;
    for (const std::string& line : run.out_lines()) {
        if (gist(line) != last) all += gist(line) + "\n";
        last = gist(line);
    }
    return all;
}

/// The error that a command line ends in, without starting a program.
std::string usage_error(const Words& words) {
    std::vector<const char*> pointers{"isosweep-worker"};
    for (const std::string& word : words) pointers.push_back(word.c_str());
    try {
        parse_options(static_cast<int>(pointers.size()), pointers.data());
    } catch (const UsageError& problem) {
        return problem.what();
    }
    return "none";
}

Cell cell_of(const Words& words) {
    std::vector<const char*> pointers{"isosweep-worker"};
    for (const std::string& word : words) pointers.push_back(word.c_str());
    return parse_options(static_cast<int>(pointers.size()), pointers.data()).cell;
}

TEST_CASE("--serve says hello, tells its phases, answers what the request asked for") {
    json::object cell = tiny_cell();
    cell["pass_type"] = "train_step";
    const ProgramRun run = run_worker({"--serve"}, request("abc", cell));
    CHECK(run.exit_code == 0);
    CHECK(run.err == "");
    CHECK(gists(run) ==
          "hello\n"
          "phase abc build\n"
          "phase abc warmup\n"
          "phase abc measure\n"
          "phase abc cleanup\n"
          "result abc ok\n");

    const auto lines = run.out_lines();
    const json::object hello = json::parse(lines.front()).as_object();
    CHECK(hello.at("protocol") == 1);
    CHECK(hello.at("pid").as_int64() > 0);
    CHECK(hello.at("torch").as_string().starts_with("2."));
    CHECK(hello.at("cuda").is_bool());
    CHECK(hello.at("start_ms").as_double() > 0);

    const json::object result = json::parse(lines.back()).as_object();
    const Outcome outcome = protocol::check_result(result, cell);
    CHECK_MESSAGE(outcome.status == Status::ok, outcome.message);
    const json::object& measurement = outcome.measurement;
    CHECK(measurement.at("num_params") == 3'084'928);
    CHECK(measurement.at("device") == "cpu");
    CHECK(measurement.at("phases_ms").as_object().size() == 3);
    CHECK(measurement.at("peak_resident_bytes").as_int64() > 0);
    for (const char* key : {"context_ms", "build_ms", "total_ms", "loss"})
        CHECK(measurement.at(key).is_double());
}

TEST_CASE("--serve answers all it has read, each request by itself") {
    json::object axis = tiny_cell();
    axis["flavour"] = "mint";
    json::object text = tiny_cell();
    text["context_length"] = "8";
    json::object graphed = tiny_cell();
    graphed["cuda_graph"] = "on";
    json::object nameless = tiny_cell();
    nameless["model_size"] = "mine";
    json::object named = nameless;
    for (const auto* dimension : {"d_model", "d_ff", "num_layers", "num_heads"})
        named[dimension] = 2;
    named["num_heads"] = 1;
    std::string last = request("6", tiny_cell());
    last.pop_back();  // its '\n'
    const ProgramRun run = run_worker(
        {"--serve"}, request("1", axis) + request("2", text) + "\n" + request("3", graphed) +
                         request("4", nameless) + request("5", named) + last);
    CHECK(run.exit_code == 0);
    std::string results;
    for (const std::string& line : run.out_lines())
        if (gist(line).starts_with("result")) results += gist(line) + "\n";
    CHECK(results ==
          "result 1 unsupported: unknown axis flavour\n"
          "result 2 error: context_length = \"8\": expected an integer\n"
          "result 3 unsupported: cuda_graph needs a CUDA device\n"
          "result 4 error: model_size = mine: not known here, and the request has no d_model\n"
          "result 5 ok\n"
          "result 6 ok\n");
}

TEST_CASE("--serve without requests, or with none that is one") {
    CHECK(gists(run_worker({"--serve"})) == "hello\n");
    const ProgramRun run = run_worker({"--serve"}, "{\"protocol\":2}\n");
    CHECK(run.exit_code == 1);
    CHECK(gists(run) == "hello\n");
    CHECK(run.err == "isosweep-worker: a request of another protocol than 1: {\"protocol\":2}\n");
}

TEST_CASE("a cell for a GPU is an error where there is none") {
    json::object cell = tiny_cell();
    cell["device"] = "cuda";
    const ProgramRun run = run_worker({"--serve"}, request("1", cell));
    CHECK(run.exit_code == 0);
    CHECK(gist(run.out_lines().back()) == "result 1 error: no CUDA device");
}

TEST_CASE("a probe is unsupported with the reason where it cannot be") {
    const auto probe = [](const json::object& wanted) {
        const ProgramRun run = run_worker({"--serve"}, protocol::request_line({"1", {}, wanted}));
        CHECK(run.exit_code == 0);
        return gists(run);
    };
    CHECK(probe({{"name", "matmul"}, {"precision", "bf16"}}) ==
          "hello\nphase 1 build\n"
          "result 1 unsupported: the probe matmul needs a CUDA device\n");
    CHECK(probe({{"name", "disk"}})
              .ends_with("unsupported: unknown probe: expected matmul or start\n"));
    CHECK(probe({{"name", "matmul"}})
              .ends_with("unsupported: unknown precision: expected one of fp32, tf32, bf16\n"));
    const ProgramRun by_hand = run_worker({"--probe", "matmul", "--precision", "bf16"});
    CHECK(by_hand.exit_code == 1);
    CHECK(by_hand.out == "");
    CHECK(by_hand.err ==
          "isosweep-worker: unsupported in build: the probe matmul needs a CUDA device\n");
}

TEST_CASE("by hand: a block for people") {
    const ProgramRun run = run_worker(tiny_with({"--pass-type", "forward_backward", "--no-sync"}));
    CHECK(run.exit_code == 0);
    CHECK(run.err == "");
    CHECK(run.out.starts_with("tiny, context 8, batch 1, forward_backward, "));
    for (const auto* label :
         {"device", "program", "parameters      3,084,928\n",
          "steps           2 measured after 1 to warm up, not synchronised\n", "mean ", "median",
          "min", "max", "tokens/s", "forward", "backward", "first step", "peak memory"})
        CHECK_MESSAGE(run.out.find("\n  " + std::string(label)) != std::string::npos, label);
}

TEST_CASE("by hand: a missing GPU falls back to the CPU with a warning") {
    Words words = tiny_model;
    words.back() = "cuda";
    const ProgramRun run = run_worker(words);
    CHECK(run.exit_code == 0);
    CHECK(run.err == "isosweep-worker: warning: no CUDA device; measuring on the CPU\n");
}

TEST_CASE("by hand: --json is the result line") {
    const ProgramRun run = run_worker(tiny_with({"--json"}));
    CHECK(run.exit_code == 0);
    REQUIRE(run.out_lines().size() == 1);
    const json::object result = json::parse(run.out).as_object();
    CHECK(protocol::check_result(result, tiny_cell()).status == Status::ok);
}

TEST_CASE("by hand: a failed cell is exit 1 with the reason in one line") {
    ProgramRun run = run_worker(tiny_with({"--precision", "tf32"}));
    CHECK(run.exit_code == 1);
    CHECK(run.out == "");
    CHECK(run.err ==
          "isosweep-worker: unsupported in build: precision = tf32 needs a CUDA device\n");
    run = run_worker(tiny_with({"--cuda-graph", "on", "--json"}));
    CHECK(run.exit_code == 1);
    CHECK(gist(run.out) == "result  unsupported: cuda_graph needs a CUDA device");
}

TEST_CASE("by hand: wrong usage is exit 2") {
    const ProgramRun run = run_worker({"--model-size", "smal"});
    CHECK(run.exit_code == 2);
    CHECK(run.out == "");
    CHECK(run.err ==
          "isosweep-worker: --model-size smal: expected one of tiny, small, medium, large, xl, "
          "2.7B, 10B, or any name with --d-model, --d-ff, --num-layers and --num-heads; did you "
          "mean 'small'?\n");
}

TEST_CASE("a wrong command line is refused in one line that names the flag") {
    CHECK(usage_error({}) == "none");
    CHECK(usage_error({"--contxt-length", "8"}) ==
          "--contxt-length: no such flag; did you mean '--context-length'?; --help lists them");
    CHECK(usage_error({"--context", "8"}).starts_with("--context: no such flag"));
    CHECK(usage_error({"tiny"}) ==
          "tiny: a value needs its flag in front of it; --help lists them");
    CHECK(usage_error({"--seed"}) == "--seed: expected a value behind it");
    CHECK(usage_error({"--seed", "1", "--seed", "2"}) == "--seed: given twice");
    CHECK(usage_error({"--seed", "0"}) == "--seed 0: expected an integer >= 1");
    CHECK(usage_error({"--batch-size", "-4"}) == "--batch-size -4: expected an integer >= 1");
    CHECK(usage_error({"--batch-size", "4x"}) == "--batch-size 4x: expected an integer >= 1");
    CHECK(usage_error({"--json=yes"}) == "--json: takes no value");
    CHECK(usage_error({"--pass-type", "foward"}) ==
          "--pass-type foward: expected one of forward, forward_backward, train_step; did you "
          "mean 'forward'?");
    CHECK(usage_error({"--sync", "on", "--no-sync"}) == "--no-sync: given beside --sync");
    CHECK(usage_error({"--serve", "--json"}).starts_with("--serve: takes no other flag"));
    CHECK(usage_error({"--probe", "disk"}) == "--probe disk: expected matmul or start");
    CHECK(usage_error({"--probe", "matmul", "--seed", "2"}) ==
          "--seed: a probe takes only --precision and --json");
    CHECK(usage_error({"--num-heads", "7"}) ==
          "no such model: num_heads (7) does not divide d_model (768)");
}

TEST_CASE("flags become the cell: sizes, own dimensions, switches, bytes") {
    CHECK(cell_of({}) == Cell{});
    const Cell medium = cell_of({"--model-size", "medium"});
    CHECK(medium.num_layers == 24);
    const Cell changed = cell_of({"--num-layers", "2", "--model-size", "medium"});
    CHECK(changed.model_size == "medium");
    CHECK(changed.num_layers == 2);
    CHECK(changed.d_model == 1024);
    const Cell own = cell_of({"--d-model", "96"});
    CHECK(own.model_size == "custom");
    CHECK(own.d_model == 96);
    const Cell named = cell_of({"--model-size", "mine", "--d-model", "8", "--d-ff", "9",
                                "--num-layers", "1", "--num-heads", "2"});
    CHECK(named.model_size == "mine");
    CHECK(named.d_ff == 9);
    const Cell rest = cell_of({"--no-sync", "--gpu-memory-limit", "24GiB", "--precision", "bf16",
                               "--cuda-graph", "on", "--replicate", "3"});
    CHECK_FALSE(rest.sync);
    CHECK(rest.gpu_memory_limit.bytes == std::int64_t{24} << 30);
    CHECK(rest.precision == Precision::bf16);
    CHECK(rest.cuda_graph);
    CHECK(rest.replicate == 3);
}

TEST_CASE("--help lists every field of a cell, --version says with what it was built") {
    const ProgramRun help = run_worker({"--help"});
    CHECK(help.exit_code == 0);
    CHECK(help.err == "");
    Cell cell;
    for_each_field(cell, [&](const Field& field, const auto&) {
        CHECK_MESSAGE(help.out.find("  --" + field.key() + " VALUE") != std::string::npos,
                      field.name);
    });
    const ProgramRun version = run_worker({"--version"});
    CHECK(version.exit_code == 0);
    const std::string first = version.out.substr(0, version.out.find('\n'));
    CHECK(first.find("isosweep-worker ") == 0);
    CHECK(first.find("LibTorch 2.") != std::string::npos);
    CHECK(version.out.find("PyTorch built with:\n") == first.size() + 1);
}

TEST_CASE("what a library prints to stdout does not enter the results") {
    const TemporaryFolder folder;
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        if (!std::freopen(folder.file("out").c_str(), "w", stdout) ||
            !std::freopen(folder.file("err").c_str(), "w", stderr))
            ::_exit(1);
        ResultOutput output;
        std::printf("noise of printf\n");
        std::cout << "noise of cout" << std::endl;
        output.write("result\n");
        std::fflush(nullptr);
        static_cast<void>(!::write(STDOUT_FILENO, "noise of write\n", 15));
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    const auto content = [&](const char* name) {
        std::ifstream file(folder.file(name));
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    CHECK(content("out") == "result\n");
    CHECK(content("err").find("noise of printf\n") != std::string::npos);
    CHECK(content("err").find("noise of cout\n") != std::string::npos);
    CHECK(content("err").find("noise of write\n") != std::string::npos);
}

TEST_CASE("a program that is terminated still has its last words") {
    const TemporaryFolder folder;
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        if (!std::freopen(folder.file("out").c_str(), "w", stdout)) ::_exit(1);
        ResultOutput output;
        output.set_last_words("last words\n");
        std::terminate();
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 70);
    std::ifstream file(folder.file("out"));
    CHECK(std::string(std::istreambuf_iterator<char>(file), {}) == "last words\n");
}

TEST_CASE("exceptions without a telling type are told by their text") {
    const auto status = [](const char* text) { return to_name(status_of_message(text)); };
    CHECK(status("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`") ==
          "oom_gpu");
    CHECK(status("cuDNN error: CUDNN_STATUS_ALLOC_FAILED") == "oom_gpu");
    CHECK(status("CUDA error: out of memory") == "oom_gpu");
    CHECK(status("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes") ==
          "oom_host");
    CHECK(status("No available kernel. Aborting execution.") == "unsupported");
    CHECK(status("mat1 and mat2 shapes cannot be multiplied") == "error");
    CHECK(status("an unrelated text on memory") == "error");

    CHECK(requested_bytes_in("CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has") ==
          std::int64_t{8} << 30);
    CHECK(requested_bytes_in("Tried to allocate 2.50 MiB.") == 2'621'440);
    CHECK(requested_bytes_in("you tried to allocate 640 bytes. Error code 12") == 640);
    CHECK(requested_bytes_in("nothing of the kind") == 0);

    CHECK(is_sticky_cuda_error(700));
    CHECK(is_sticky_cuda_error(710));
    CHECK_FALSE(is_sticky_cuda_error(2));
    CHECK_FALSE(is_sticky_cuda_error(0));
}

TEST_CASE("a failure in one line") {
    CHECK(
        failure_text(Status::oom_gpu, {{"phase", "backward"},
                                       {"message", "CUDA out of memory."},
                                       {"requested_bytes", std::int64_t{8} << 30},
                                       {"free_bytes", std::int64_t{1} << 30},
                                       {"capacity_bytes", std::int64_t{80} << 30},
                                       {"limit_bytes", std::int64_t{16} << 30}}) ==
        "oom_gpu in backward: CUDA out of memory.; asked for 8.00 GiB, 1.00 GiB free of 16.0 GiB");
}

}  // namespace
}  // namespace isosweep
