// The public library: models and benchmarks, on the CPU.

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <doctest/doctest.h>
#include <isosweep/benchmark.h>
#include <torch/nn/modules/container/any.h>

#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "memory_ledger.h"
#include "run_cell.h"

namespace isosweep {
namespace {

constexpr ModelConfig small_model{
    .d_model = 16, .d_ff = 24, .num_layers = 1, .num_heads = 2, .vocab_size = 30};

Transformer seeded_model(const ModelConfig& config, std::int64_t context_length, int seed = 1) {
    torch::manual_seed(static_cast<std::uint64_t>(seed));
    return create_model(config, context_length, torch::kCPU);
}

Cell small_cell() {
    Cell cell;
    set_model(cell, "custom", small_model);
    cell.vocab_size = small_model.vocab_size;
    cell.context_length = 8;
    cell.batch_size = 2;
    cell.warmup_steps = 1;
    cell.measure_steps = 2;
    cell.device = Device::cpu;
    return cell;
}

const auto silent = [](std::string_view) {};

TEST_CASE("parameters carry the course's names and shapes") {
    const Transformer model = seeded_model(small_model, 8);
    std::string listing;
    for (const auto& parameter : model->named_parameters()) {
        listing += parameter.key() + " " + c10::str(parameter.value().sizes()) + "\n";
        CHECK(parameter.value().requires_grad());
        CHECK(parameter.value().dtype() == torch::kFloat);
    }
    CHECK(listing ==
          "token_embeddings.weight [30, 16]\n"
          "layers.0.attn.q_proj.weight [16, 16]\n"
          "layers.0.attn.k_proj.weight [16, 16]\n"
          "layers.0.attn.v_proj.weight [16, 16]\n"
          "layers.0.attn.output_proj.weight [16, 16]\n"
          "layers.0.ffn.w1.weight [24, 16]\n"
          "layers.0.ffn.w2.weight [16, 24]\n"
          "layers.0.ffn.w3.weight [24, 16]\n"
          "layers.0.ln1.weight [16]\n"
          "layers.0.ln2.weight [16]\n"
          "ln_final.weight [16]\n"
          "lm_head.weight [30, 16]\n");
}

TEST_CASE("the known sizes have as many parameters as num_params says") {
    // Without memory: the meta device knows shapes alone.
    for (const auto& [name, config] : model_configs()) {
        CAPTURE(name);
        std::int64_t count = 0;
        const Transformer model = create_model(config, 8, torch::Device(torch::kMeta));
        for (const torch::Tensor& parameter : model->parameters()) count += parameter.numel();
        CHECK(count == num_params(config));
    }
    CHECK(num_params(*find_model_config("small")) == 128'625'408);
    CHECK(num_params(*find_model_config("2.7B")) == 3'406'809'600);
}

TEST_CASE("weights are normal numbers cut at three deviations") {
    const ModelConfig config{
        .d_model = 256, .d_ff = 512, .num_layers = 1, .num_heads = 4, .vocab_size = 1000};
    const auto parameters = seeded_model(config, 8)->named_parameters();
    const double sigma = std::sqrt(2.0 / (256 + 512));
    const torch::Tensor& w1 = parameters["layers.0.ffn.w1.weight"];
    CHECK(w1.abs().max().item<double>() <= 3 * sigma);
    CHECK(w1.std().item<double>() == doctest::Approx(0.98658 * sigma).epsilon(0.01));
    CHECK(w1.mean().item<double>() == doctest::Approx(0).scale(sigma).epsilon(0.02));
    const torch::Tensor& embedding = parameters["token_embeddings.weight"];
    CHECK(embedding.abs().max().item<double>() <= 3);
    CHECK(embedding.std().item<double>() == doctest::Approx(0.98658).epsilon(0.01));
    CHECK(parameters["ln_final.weight"].eq(1).all().item<bool>());
}

TEST_CASE("a seed repeats a model, another seed makes another") {
    const torch::Tensor ids = generate_random_batch(2, 8, small_model.vocab_size, torch::kCPU);
    const torch::Tensor logits = seeded_model(small_model, 8, 1)->forward(ids);
    CHECK(torch::equal(logits, seeded_model(small_model, 8, 1)->forward(ids)));
    CHECK_FALSE(torch::equal(logits, seeded_model(small_model, 8, 2)->forward(ids)));
}

TEST_CASE("a model is an ordinary module, and its first blocks are a model") {
    ModelConfig config = small_model;
    config.num_layers = 2;
    Transformer model = seeded_model(config, 8);
    const torch::Tensor ids = generate_random_batch(2, 8, config.vocab_size, torch::kCPU);
    const torch::Tensor logits = model->forward(ids);
    CHECK(torch::equal(torch::nn::AnyModule(model).forward(ids), logits));
    CHECK(torch::equal(model->forward_through(ids, 2), logits));
    const torch::Tensor of_first = model->forward_through(ids, 1);
    CHECK(of_first.sizes() == logits.sizes());
    CHECK_FALSE(torch::equal(of_first, logits));
    CHECK_THROWS_AS(model->forward_through(ids, 3), c10::Error);
}

TEST_CASE("odd shapes work in every pass") {
    const ModelConfig config{
        .d_model = 2, .d_ff = 1, .num_layers = 1, .num_heads = 1, .vocab_size = 1};
    for (const std::int64_t context : {1, 7}) {
        Transformer model = seeded_model(config, context);
        const torch::Tensor ids = generate_random_batch(1, context, 1, torch::kCPU);
        CHECK(model->forward(ids).sizes() == at::IntArrayRef({1, context, 1}));
        const BenchmarkOptions once{.warmup_steps = 0, .measure_steps = 1};
        CHECK(benchmark_forward(model, ids, once).samples_ms.size() == 1);
        CHECK(benchmark_forward_backward(model, ids, once).samples_ms.size() == 1);
        CHECK(benchmark_train_step(model, ids, once).samples_ms.size() == 1);
    }
}

TEST_CASE("a later token changes no earlier logits, and shorter sequences are prefixes") {
    Transformer model = seeded_model(small_model, 8);
    const torch::Tensor ids = generate_random_batch(1, 8, small_model.vocab_size, torch::kCPU);
    torch::Tensor changed = ids.clone();
    changed[0][7] = (changed[0][7] + 1) % small_model.vocab_size;
    const auto first_seven = [](const torch::Tensor& logits) { return logits.narrow(1, 0, 7); };
    const torch::Tensor logits = first_seven(model->forward(ids));
    CHECK(torch::allclose(logits, first_seven(model->forward(changed))));
    CHECK(torch::allclose(logits, model->forward(ids.narrow(1, 0, 7)), 1e-4, 1e-5));
}

TEST_CASE("models that cannot be are refused with the reason") {
    ModelConfig config = small_model;
    config.num_heads = 3;
    CHECK_THROWS_AS(create_model(config, 8, torch::kCPU), std::invalid_argument);
    CHECK_THROWS_AS(create_model(small_model, 0, torch::kCPU), std::invalid_argument);
    Transformer model = seeded_model(small_model, 8);
    const torch::Tensor long_ids = generate_random_batch(1, 9, small_model.vocab_size, torch::kCPU);
    CHECK_THROWS_WITH_AS(model->forward(long_ids),
                         doctest::Contains("longer than the model's context of 8"), c10::Error);
}

TEST_CASE("bf16 is near fp32") {
    Transformer model = seeded_model(small_model, 8);
    const torch::Tensor ids = generate_random_batch(2, 8, small_model.vocab_size, torch::kCPU);
    BenchmarkOptions options{.warmup_steps = 0, .measure_steps = 1};
    // A fresh model each, so that both train steps see the same weights and targets.
    const auto loss = [&](Precision precision) {
        options.precision = precision;
        return benchmark_train_step(seeded_model(small_model, 8), ids, options).loss;
    };
    const double exact = loss(Precision::fp32);
    const double rounded = loss(Precision::bf16);
    CHECK(rounded == doctest::Approx(exact).epsilon(0.02));
    CHECK(rounded != exact);
}

TEST_CASE("a benchmark keeps all samples and the parts within them") {
    Transformer model = seeded_model(small_model, 8);
    const torch::Tensor ids = generate_random_batch(2, 8, small_model.vocab_size, torch::kCPU);
    const BenchmarkOptions options{.warmup_steps = 2, .measure_steps = 4};
    const auto sizes = [](const BenchmarkResult& result) {
        return std::vector<std::size_t>{
            result.warmup_ms.size(), result.samples_ms.size(), result.phases_ms.forward.size(),
            result.phases_ms.backward.size(), result.phases_ms.optimizer.size()};
    };
    CHECK(sizes(benchmark_forward(model, ids, options)) == std::vector<std::size_t>{2, 4, 4, 0, 0});
    CHECK(sizes(benchmark_forward_backward(model, ids, options)) ==
          std::vector<std::size_t>{2, 4, 4, 4, 0});
    const BenchmarkResult result = benchmark_train_step(model, ids, options);
    CHECK(sizes(result) == std::vector<std::size_t>{2, 4, 4, 4, 4});

    double sum = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        const double parts = result.phases_ms.forward[i] + result.phases_ms.backward[i] +
                             result.phases_ms.optimizer[i];
        CHECK(parts > 0);
        CHECK(parts <= result.samples_ms[i]);
        CHECK(parts > 0.5 * result.samples_ms[i]);
        sum += result.samples_ms[i];
    }
    CHECK(result.mean_ms == doctest::Approx(sum / 4));
    CHECK(result.std_ms >= 0);
    CHECK_THROWS_AS(benchmark_forward(model, ids, {.measure_steps = 0}), std::invalid_argument);
    CHECK_THROWS_AS(benchmark_forward(model, ids, {.warmup_steps = -1}), std::invalid_argument);
}

TEST_CASE("a training step learns, a forward pass leaves the weights alone") {
    const torch::Tensor ids = generate_random_batch(2, 8, small_model.vocab_size, torch::kCPU);
    const auto loss_after = [&](std::int64_t steps) {
        return benchmark_train_step(seeded_model(small_model, 8), ids,
                                    {.warmup_steps = 0, .measure_steps = steps})
            .loss;
    };
    CHECK(loss_after(60) < 0.9 * loss_after(1));

    Transformer model = seeded_model(small_model, 8);
    const torch::Tensor before = model->forward(ids);
    benchmark_forward_backward(model, ids, {.warmup_steps = 1, .measure_steps = 1});
    CHECK(torch::equal(before, model->forward(ids)));
}

TEST_CASE("a benchmark puts back what it switches, also when it throws") {
    Transformer model = seeded_model(small_model, 8);
    const torch::Tensor ids = generate_random_batch(2, 8, small_model.vocab_size, torch::kCPU);
    const torch::Tensor long_ids = generate_random_batch(2, 9, small_model.vocab_size, torch::kCPU);
    const auto check_state = [&](bool tf32) {
        CHECK(torch::GradMode::is_enabled());
        CHECK_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
        CHECK(at::globalContext().allowTF32CuBLAS() == tf32);
        for (const torch::Tensor& parameter : model->parameters())
            CHECK_FALSE(parameter.grad().defined());
    };
    for (const bool tf32 : {false, true}) {
        at::globalContext().setAllowTF32CuBLAS(tf32);
        for (const Precision precision : {Precision::fp32, Precision::bf16}) {
            const BenchmarkOptions options{
                .warmup_steps = 0, .measure_steps = 1, .precision = precision};
            benchmark_forward(model, ids, options);
            check_state(tf32);
            benchmark_train_step(model, ids, options);
            check_state(tf32);
            CHECK_THROWS_AS(benchmark_train_step(model, long_ids, options), c10::Error);
            check_state(tf32);
        }
    }
    at::globalContext().setAllowTF32CuBLAS(false);
}

TEST_CASE("a benchmark says what it does, and at most once a second that it lives") {
    Transformer model = seeded_model(small_model, 8);
    const torch::Tensor ids = generate_random_batch(2, 8, small_model.vocab_size, torch::kCPU);
    std::vector<std::string> heard;
    BenchmarkOptions options{.warmup_steps = 3, .measure_steps = 3};
    options.on_phase = [&](std::string_view phase) { heard.emplace_back(phase); };
    const auto start = std::chrono::steady_clock::now();
    benchmark_forward(model, ids, options);
    const auto seconds =
        std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now() - start);
    CHECK(heard.front() == "warmup");
    CHECK(heard.back() == "measure");
    CHECK(heard.size() <= 2 + static_cast<std::size_t>(seconds.count()));
}

TEST_CASE("a measurement says what each step took of the host") {
    const Cell cell = small_cell();
    const auto measurement = run_cell(cell, silent).measurement;
    for (const char* series : {"samples_ms", "cpu_ms"})
        CHECK(measurement.at(series).as_array().size() == 2);
    for (const char* series : {"enqueue_ms", "drain_ms", "gpu_ms"})
        CHECK_FALSE(measurement.contains(series));
    CHECK(measurement.at("timer_floor_ms").as_double() >= 0);
    CHECK(measurement.at("cpus").as_int64() > 0);
    CHECK(measurement.at("num_threads").as_int64() > 0);
    CHECK_FALSE(measurement.contains("pipelined_ms"));
}

TEST_CASE("a measurement says what served fused kernels") {
    Cell cell = small_cell();
    CHECK_FALSE(run_cell(cell, silent).measurement.contains("kernels_backend"));
    cell.kernels = Kernels::fused;
    const auto measurement = run_cell(cell, silent).measurement;
    CHECK(measurement.at("kernels_backend") == "libtorch");
    CHECK_FALSE(measurement.contains("kernels_origin"));
    CHECK_FALSE(measurement.contains("kernels_load_ms"));
    CHECK_FALSE(measurement.contains("kernels_note"));
    CHECK(measurement.at("attention_backend") == "flash");
}

TEST_CASE("the number of steps may be left to the rules, and steps pipelined") {
    Cell cell = small_cell();
    cell.warmup_steps = {};
    cell.measure_steps = {};
    cell.passes = {.memory = true, .pipelined = true};
    const CellResult result = run_cell(cell, silent);
    REQUIRE(result.status == Status::ok);
    CHECK(result.measurement.at("warmup_ms").as_array().size() >= 6);
    CHECK(result.measurement.at("samples_ms").as_array().size() >= 10);
    CHECK(result.measurement.contains("warmup_steady"));
    CHECK(result.measurement.contains("stop_reason"));
    CHECK(result.measurement.at("pipelined_steps").as_int64() >= 5);
    CHECK(result.measurement.at("pipelined_ms").as_double() > 0);
}

TEST_CASE("a ledger names what is held when most is held") {
    const auto take = [](std::uintptr_t address, std::int64_t bytes) {
        return cuda::AllocationEvent{.is_free = false, .address = address, .bytes = bytes};
    };
    const auto give = [](std::uintptr_t address, std::int64_t bytes) {
        return cuda::AllocationEvent{.is_free = true, .address = address, .bytes = bytes};
    };
    const KnownMemory known{.parameters = 1000,
                            .optimizer = 2000,
                            .inputs = 30,
                            .gradients = {0x50},
                            .outputs = {0x70},
                            .marker_bytes = 7};
    const MemoryLedger ledger = account(
        {
            take(0x50, 400),
            give(0x50, 400),  // a temporary where a gradient will lie
            take(0x10, 100),  // saved for backward
            take(0x70, 5),    // the loss
            take(0x20, 64),   // a library's, never given back
            take(0x90, 7),
            give(0x90, 7),    // the marker
            take(0x50, 400),  // the gradient
            take(0x30, 50),   // a temporary of backward: most is held
            give(0x30, 50),
            give(0x10, 100),
            give(0x999, 12),
        },
        known);
    CHECK(ledger.parameters == 1000);
    CHECK(ledger.optimizer == 2000);
    CHECK(ledger.gradients == 400);
    CHECK(ledger.activations == 30 + 100 + 5);
    CHECK(ledger.workspace == 64 + 50);
}

TEST_CASE("cells run one after another as each would alone") {
    const Cell cell = small_cell();
    const CellResult alone = run_cell(cell, silent);
    REQUIRE(alone.status == Status::ok);
    Cell other = cell;
    other.precision = Precision::bf16;
    other.pass_type = PassType::train_step;
    other.seed = 2;
    const CellResult between = run_cell(other, silent);
    REQUIRE(between.status == Status::ok);
    const CellResult again = run_cell(cell, silent);
    CHECK(again.measurement.at("loss") == alone.measurement.at("loss"));
    CHECK(between.measurement.at("loss") != alone.measurement.at("loss"));
    CHECK(again.measurement.at("peak_resident_bytes").as_int64() > 0);
    CHECK_FALSE(again.measurement.contains("peak_allocated_bytes"));
}

TEST_CASE("cells that this worker cannot run are refused with the reason") {
    const auto answer = [](auto change) {
        Cell cell = small_cell();
        change(cell);
        const CellResult result = run_cell(cell, silent);
        const auto& error = result.error;
        return std::string(to_name(result.status)) + ": " +
               (error.empty() ? "" : std::string(error.at("message").as_string()));
    };
    CHECK(answer([](Cell& c) { c.custom["flavour"] = "mint"; }) ==
          "unsupported: unknown axis flavour");
    CHECK(answer([](Cell& c) { c.precision = Precision::tf32; }) ==
          "unsupported: precision = tf32 needs a CUDA device");
    CHECK(answer([](Cell& c) { c.gpu_memory_limit.bytes = 1 << 30; }) ==
          "unsupported: gpu_memory_limit needs a CUDA device");
    CHECK(answer([](Cell& c) { c.num_heads = 5; }) ==
          "unsupported: num_heads (5) does not divide d_model (16)");
    CHECK(answer([](Cell& c) { c.cuda_graph = true; }) ==
          "unsupported: cuda_graph needs a CUDA device");
    CHECK(answer([](Cell& c) { c.activation_checkpointing = true; }) ==
          "unsupported: activation_checkpointing needs a backward pass; pass_type = forward keeps "
          "nothing");
}

TEST_CASE("a cell too large for the host is oom_host, and the next one runs") {
    Cell cell = small_cell();
    cell.vocab_size = 1'000'000'000'000'000;  // an embedding of 57 PiB
    const CellResult result = run_cell(cell, silent);
    CHECK(result.status == Status::oom_host);
    CHECK(result.error.at("phase") == "build");
    CHECK(result.error.at("requested_bytes").as_int64() > std::int64_t{1} << 40);
    CHECK(result.error.at("num_params") == num_params(model_config(cell)));
    CHECK(run_cell(small_cell(), silent).status == Status::ok);
}

}  // namespace
}  // namespace isosweep
