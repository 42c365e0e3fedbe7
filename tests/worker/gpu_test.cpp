// What only a GPU can show. Without one every case says so and passes.

#include <doctest/doctest.h>
#include <isosweep/benchmark.h>
#include <isosweep/protocol.h>
#include <isosweep/quality.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdlib>
#include <set>
#include <string>

#include "cell_setup.h"
#include "device.h"
#include "probe.h"
#include "program.h"
#include "run_cell.h"

namespace isosweep {
namespace {

namespace json = boost::json;

constexpr std::int64_t mebibyte = std::int64_t{1} << 20;

bool skipped() {
    if (cuda::is_usable()) return false;
    MESSAGE("skipped: no CUDA device");
    return true;
}

const auto silent = [](std::string_view) {};

/// Weights of 12 MB; at batch 8 and context 256 each tensor of attention scores is 8 MiB, the
/// logits are 78 MiB.
Cell tiny_cell() {
    Cell cell;
    set_model(cell, "tiny", *find_model_config("tiny"));
    cell.context_length = 256;
    cell.batch_size = 8;
    cell.warmup_steps = 1;
    cell.measure_steps = 3;
    cell.device = Device::cuda;
    return cell;
}

std::int64_t bytes(const CellResult& result, const char* key) {
    const json::value* value = result.error.if_contains(key);
    REQUIRE_MESSAGE(value != nullptr, key);
    return value->as_int64();
}

TEST_CASE("the GPU's logits and gradients are the CPU's") {
    if (skipped()) return;
    const ModelConfig config = *find_model_config("tiny");
    torch::manual_seed(1);
    Transformer on_cpu = create_model(config, 64, torch::kCPU);
    Transformer on_gpu = create_model(config, 64, torch::kCUDA);
    {
        const torch::NoGradGuard no_grad;
        auto targets = on_gpu->parameters();
        const auto sources = on_cpu->parameters();
        for (std::size_t i = 0; i < sources.size(); ++i) targets[i].copy_(sources[i]);
    }
    const torch::Tensor ids = generate_random_batch(2, 64, config.vocab_size, torch::kCPU);
    const torch::Tensor expected = on_cpu->forward(ids);
    const torch::Tensor actual = on_gpu->forward(ids.to(torch::kCUDA));
    const auto near = [](const torch::Tensor& a, const torch::Tensor& b, double tolerance) {
        const double difference = (a.cpu() - b).abs().max().item<double>();
        return difference < tolerance * b.abs().max().item<double>();
    };
    CHECK(near(actual.detach(), expected.detach(), 1e-4));
    expected.pow(2).mean().backward();
    actual.pow(2).mean().backward();
    const auto cpu_parameters = on_cpu->named_parameters();
    for (const auto& parameter : on_gpu->named_parameters())
        CHECK_MESSAGE(near(parameter.value().grad(), cpu_parameters[parameter.key()].grad(), 1e-3),
                      parameter.key());
}

TEST_CASE("the probe measures a matrix product in every precision and frees its memory") {
    if (skipped()) return;
    double last = 0;
    for (const auto& [precision, name] : EnumNames<Precision>::value) {
        CAPTURE(name);
        const CellResult result = run_probe({{"name", "matmul"}, {"precision", name}}, silent);
        const Outcome outcome =
            protocol::check_probe_result(json::parse(result.line("1")).as_object());
        REQUIRE_MESSAGE(outcome.status == Status::ok, outcome.message);
        CHECK(outcome.measurement.at("samples_ms").as_array().size() == 10);
        // fp32, tf32, bf16: none is slower than the one before.
        CHECK(outcome.measurement.at("tflops").as_double() > 0.9 * last);
        last = outcome.measurement.at("tflops").as_double();
        CHECK(cuda::memory().reserved < 128 * mebibyte);  // less than one matrix
        MESSAGE(probe_text(outcome.measurement));
    }
}

TEST_CASE("the parts of a worker's start add up to the time of its first product") {
    if (skipped()) return;
    const ProgramRun run = run_worker({"--probe", "start", "--json"}, "", /*with_cuda=*/true);
    REQUIRE(run.exit_code == 0);
    const json::object measurement = json::parse(run.out).as_object().at("measurement").as_object();
    double sum = 0;
    for (const char* part : {"start_ms", "driver_ms", "context_ms", "tensor_ms", "product_ms"}) {
        CHECK_MESSAGE(measurement.at(part).as_double() > 0, part);
        sum += measurement.at(part).as_double();
    }
    // The age of a process is known to 10 ms.
    CHECK(measurement.at("first_product_ms").as_double() == doctest::Approx(sum).epsilon(0.1));
    MESSAGE(probe_text(measurement));
}

TEST_CASE("every pass and precision measures on the GPU") {
    if (skipped()) return;
    for (const auto& [pass, name] : EnumNames<PassType>::value)
        for (const auto& [precision, precision_name] : EnumNames<Precision>::value)
            for (const bool sync : {true, false}) {
                CAPTURE(name);
                CAPTURE(precision_name);
                Cell cell = tiny_cell();
                cell.pass_type = pass;
                cell.precision = precision;
                cell.sync = sync;
                const CellResult result = run_cell(cell, silent);
                const Outcome outcome = protocol::check_result(
                    json::parse(result.line("1")).as_object(), to_json(cell));
                REQUIRE_MESSAGE(outcome.status == Status::ok, outcome.message);
                const json::object& measurement = result.measurement;
                CHECK(measurement.at("device") == "cuda");
                const auto allocated = measurement.at("peak_allocated_bytes").as_int64();
                CHECK(allocated > measurement.at("parameters_bytes").as_int64());
                CHECK(measurement.at("gpu_ms").as_array().size() == 3);
                CHECK(measurement.at("enqueue_ms").as_array().size() == 3);
                CHECK(measurement.contains("drain_ms") == sync);
                CHECK(measurement.at("peak_reserved_bytes").as_int64() >= allocated);
                if (!sync) continue;
                double parts = 0;
                for (const auto& phase : measurement.at("phases_ms").as_object())
                    parts += phase.value().as_array().back().as_double();
                const double sample = measurement.at("samples_ms").as_array().back().as_double();
                CHECK(parts <= sample * 1.05 + 0.05);
                CHECK(parts > 0.3 * sample);
            }
}

/// The result of a small training step by fused kernels, with an environment variable set.
json::object fused_step(const char* precision, const char* variable = nullptr,
                        const char* value = nullptr) {
    if (variable) ::setenv(variable, value, /*overwrite=*/1);
    const ProgramRun run =
        run_worker({"--model-size", "tiny", "--context-length", "128", "--pass-type", "train_step",
                    "--precision", precision, "--kernels", "fused", "--json"},
                   "", /*with_cuda=*/true);
    if (variable) ::unsetenv(variable);
    return json::parse(run.out).as_object();
}

json::object measured(const json::object& result) {
    REQUIRE_MESSAGE(result.at("status") == "ok", json::serialize(result));
    return result.at("measurement").as_object();
}

TEST_CASE("the row names the attention that ran, which may be asked for") {
    if (skipped()) return;
    for (const char* backend : {"flash", "cudnn", "efficient"}) {
        CAPTURE(backend);
        CHECK(measured(fused_step("bf16", "ISOSWEEP_ATTENTION", backend)).at("attention_backend") ==
              backend);
    }
    // What was asked for does not take fp32, so another one does, and is named.
    CHECK(measured(fused_step("fp32", "ISOSWEEP_ATTENTION", "flash")).at("attention_backend") ==
          "efficient");
    const json::object refused = fused_step("bf16", "ISOSWEEP_ATTENTION", "flesh");
    CHECK(refused.at("status") != "ok");
    CHECK(refused.at("error").at("message") ==
          "ISOSWEEP_ATTENTION=flesh: expected flash, cudnn or efficient");
}

TEST_CASE("the row names what served fused kernels, and both give the same losses") {
    if (skipped()) return;
    for (const char* precision : {"fp32", "bf16"}) {
        CAPTURE(precision);
        const json::object ours = measured(fused_step(precision));
        CHECK(ours.at("kernels_backend") == "cuda");
        CHECK(ours.at("kernels_load_ms").to_number<double>() > 0);
        const json::object theirs = measured(fused_step(precision, "ISOSWEEP_KERNELS", "libtorch"));
        CHECK(theirs.at("kernels_backend") == "libtorch");
        CHECK(theirs.at("kernels_note") == "ISOSWEEP_KERNELS=libtorch");
        CHECK(ours.at("loss").to_number<double>() ==
              doctest::Approx(theirs.at("loss").to_number<double>()).epsilon(1e-2));
    }
}

TEST_CASE("the memory ledger closes in every variant, and a graph holds no more than its step") {
    if (skipped()) return;
    for (const auto& [pass, name] : EnumNames<PassType>::value)
        for (const Kernels kernels : {Kernels::reference, Kernels::fused})
            for (const Precision precision : {Precision::fp32, Precision::bf16})
                for (const std::int64_t warmup : {0, 2}) {  // a step of its own, or the second one
                    Cell cell = tiny_cell();
                    cell.pass_type = pass;
                    cell.kernels = kernels;
                    cell.precision = precision;
                    cell.warmup_steps = warmup;
                    std::int64_t without_graph = 0;
                    for (const bool graph : {false, true}) {
                        CAPTURE(name);
                        CAPTURE(describe(cell));
                        cell.cuda_graph = graph;
                        const CellResult result = run_cell(cell, silent);
                        REQUIRE_MESSAGE(result.status == Status::ok, json::serialize(result.error));
                        const auto at = [&](const char* key) {
                            return result.measurement.at(key).as_int64();
                        };
                        const std::int64_t peak = at("peak_allocated_bytes");
                        CHECK(std::abs(at("ledger_error_bytes")) <= peak / 200);
                        CHECK(at("parameters_bytes") >= 4 * num_params(model_config(cell)));
                        if (pass == PassType::train_step)
                            CHECK(at("optimizer_bytes") >= 8 * num_params(model_config(cell)));
                        for (const char* part : {"gradients_bytes", "optimizer_bytes",
                                                 "activations_bytes", "workspace_bytes"})
                            CHECK_MESSAGE(at(part) >= 0, part);
                        CHECK(at("fragmentation_bytes") >= 0);
                        CHECK(at("outside_torch_bytes") > 0);
                        if (graph)
                            CHECK(peak <= without_graph + without_graph / 10);
                        else
                            without_graph = peak;
                    }
                }
}

TEST_CASE("steps that are not waited for are flagged, and impossible where they claim to be") {
    if (skipped()) return;
    Cell cell = tiny_cell();
    set_model(cell, "small", *find_model_config("small"));
    cell.context_length = 512;
    cell.cuda_graph = true;  // the host is done at once
    cell.sync = false;
    const CellResult result = run_cell(cell, silent);
    REQUIRE(result.status == Status::ok);
    CHECK(result.flags.front() == "unsynchronised");
    // The same times, as a worker would send them that forgot to synchronise.
    cell.sync = true;
    const Verdict verdict = judge(cell, result.measurement);
    MESSAGE(verdict.invalid_reason);
    CHECK_FALSE(verdict.invalid_reason.empty());
    // And those of one that did are possible.
    CHECK(judge(cell, run_cell(cell, silent).measurement).invalid_reason.empty());
}

TEST_CASE("the passes measure what they are named after") {
    if (skipped()) return;
    Cell cell = tiny_cell();
    cell.passes = {.memory = false, .pipelined = true, .energy = true};
    const json::object measurement = run_cell(cell, silent).measurement;
    CHECK_FALSE(measurement.contains("ledger_error_bytes"));
    CHECK(measurement.at("pipelined_steps").as_int64() > 5);
    CHECK(measurement.at("pipelined_ms").as_double() > 0);
    if (measurement.contains("power_w_mean")) CHECK(measurement.at("energy_j").as_double() > 0);
    for (const char* figure : {"sm_clock_mhz_mean", "sm_clock_max_mhz", "temperature_c_max"})
        if (measurement.contains("power_w_mean"))
            CHECK_MESSAGE(measurement.at(figure).to_number<double>() > 0, figure);
}

TEST_CASE("a GPU made small runs out where it would, says how much was missing, and recovers") {
    if (skipped()) return;
    Cell cell = tiny_cell();
    cell.pass_type = PassType::train_step;
    const CellResult unlimited = run_cell(cell, silent);
    REQUIRE(unlimited.status == Status::ok);
    const auto peak = unlimited.measurement.at("peak_reserved_bytes").as_int64();

    bool in_forward = false;
    bool in_backward = false;
    // From far too little to nearly enough.
    for (std::int64_t limit = 4 * mebibyte; limit < peak; limit += peak / 12) {
        CAPTURE(limit);
        cell.gpu_memory_limit.bytes = limit;
        const CellResult result = run_cell(cell, silent);
        if (result.status == Status::ok) continue;  // the allocator can do with less than it took
        REQUIRE(result.status == Status::oom_gpu);
        in_forward |= result.error.at("phase") == "forward";
        in_backward |= result.error.at("phase") == "backward";
        CHECK(bytes(result, "limit_bytes") == limit);
        CHECK(bytes(result, "capacity_bytes") > limit);
        CHECK(bytes(result, "requested_bytes") > 0);
        CHECK(bytes(result, "free_bytes") < bytes(result, "requested_bytes"));
        CHECK(bytes(result, "allocated_bytes") <= bytes(result, "reserved_bytes"));
        CHECK(bytes(result, "reserved_bytes") <= limit);
        CHECK(bytes(result, "num_params") == num_params(model_config(cell)));
        CHECK(result.error.at("message").as_string().starts_with("CUDA out of memory"));
    }
    CHECK(in_forward);
    CHECK(in_backward);

    cell.gpu_memory_limit = {};
    const CellResult after = run_cell(cell, silent);
    CHECK(after.status == Status::ok);
    CHECK(after.measurement.at("loss").as_double() ==
          doctest::Approx(unlimited.measurement.at("loss").as_double()).epsilon(1e-4));
    // What it had goes when the next one comes.
    CHECK(cuda::memory().reserved > 0);
    enter_device(cell, torch::kCUDA);
    CHECK(cuda::memory().reserved == 0);
}

TEST_CASE("a graph that does not fit runs out where its step would, and gives all of it back") {
    if (skipped()) return;
    std::set<std::string> phases;
    for (const Kernels kernels : {Kernels::reference, Kernels::fused}) {
        Cell cell = tiny_cell();
        // Blocks take most of the memory, and a rehearsal runs one of them alone.
        cell.vocab_size = 100;
        cell.num_layers = 24;
        cell.pass_type = PassType::train_step;
        cell.kernels = kernels;
        cell.cuda_graph = true;
        CAPTURE(describe(cell));
        const CellResult unlimited = run_cell(cell, silent);
        REQUIRE_MESSAGE(unlimited.status == Status::ok, json::serialize(unlimited.error));
        const auto peak = unlimited.measurement.at("peak_reserved_bytes").as_int64();

        for (std::int64_t limit = peak / 16; limit < peak; limit += peak / 16) {
            CAPTURE(limit);
            cell.gpu_memory_limit.bytes = limit;
            const CellResult result = run_cell(cell, silent);
            if (result.status == Status::ok) continue;
            REQUIRE_MESSAGE(result.status == Status::oom_gpu, json::serialize(result.error));
            phases.emplace(result.error.at("phase").as_string());
            CHECK(bytes(result, "limit_bytes") == limit);
        }

        cell.gpu_memory_limit = {};
        const CellResult after = run_cell(cell, silent);
        CHECK(after.status == Status::ok);
        CHECK(after.measurement.at("loss").as_double() ==
              doctest::Approx(unlimited.measurement.at("loss").as_double()).epsilon(1e-2));
        CHECK(after.measurement.at("peak_reserved_bytes").as_int64() == peak);
        enter_device(cell, torch::kCUDA);
        CHECK(cuda::memory().reserved == 0);
    }
    // While the step is captured, not only while it is rehearsed.
    CHECK(phases.contains("forward"));
    CHECK(phases.contains("backward"));
}

TEST_CASE("--serve goes on after a cell that did not fit") {
    if (skipped()) return;
    Cell small = tiny_cell();
    Cell large = small;
    large.gpu_memory_limit.bytes = 40 * mebibyte;
    const ProgramRun run = run_worker({"--serve"},
                                      protocol::request_line({"1", to_json(small)}) +
                                          protocol::request_line({"2", to_json(large)}) +
                                          protocol::request_line({"3", to_json(small)}),
                                      /*with_cuda=*/true);
    CHECK(run.exit_code == 0);
    std::string statuses;
    for (const std::string& line : run.out_lines())
        if (const auto* status = json::parse(line).as_object().if_contains("status"))
            statuses += std::string(status->as_string()) + " ";
    CHECK(statuses == "ok oom_gpu ok ");
}

}  // namespace
}  // namespace isosweep
