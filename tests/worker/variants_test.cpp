// Every variant of the model computes what the reference computes: on the CPU, and on a GPU where
// there is one.

#include <doctest/doctest.h>
#include <isosweep/benchmark.h>

#include <string>
#include <vector>

#include "device.h"
#include "precision.h"
#include "step.h"

namespace isosweep {
namespace {

struct Shape {
    const char* name;
    ModelConfig config;
    std::int64_t batch;
    std::int64_t context;
};

const std::vector<Shape>& shapes() {
    static const std::vector<Shape> all = {
        {"one of everything",
         {.d_model = 8, .d_ff = 8, .num_layers = 1, .num_heads = 1, .vocab_size = 16},
         1,
         1},
        {"odd context, one layer, one head",
         {.d_model = 32, .d_ff = 40, .num_layers = 1, .num_heads = 1, .vocab_size = 24},
         1,
         13},
        {"several of everything",
         {.d_model = 64, .d_ff = 96, .num_layers = 3, .num_heads = 4, .vocab_size = 104},
         3,
         24},
        {"sizes that are multiples of nothing",
         {.d_model = 30, .d_ff = 37, .num_layers = 2, .num_heads = 3, .vocab_size = 41},
         2,
         19}};
    return all;
}

struct Variant {
    Kernels kernels = Kernels::reference;
    Precision precision = Precision::fp32;
    bool checkpointing = false;
    bool graph = false;
};

std::string name_of(const Variant& variant) {
    return to_text(variant.kernels) + " " + to_text(variant.precision) +
           (variant.checkpointing ? " checkpointed" : "") + (variant.graph ? " graph" : "");
}

/// What a step leaves: its loss, gradients, and parameters if it moves them. All on the CPU.
struct Left {
    double loss = 0;
    std::vector<torch::Tensor> gradients;
    std::vector<torch::Tensor> parameters;
};

Left run_step(const Shape& shape, const Variant& variant, PassType pass, torch::Device device) {
    torch::manual_seed(7);
    // Drawn on the CPU, so that devices see the same numbers.
    const Transformer source = create_model(shape.config, shape.context, torch::kCPU);
    const torch::Tensor ids =
        generate_random_batch(shape.batch, shape.context, shape.config.vocab_size, torch::kCPU);
    const torch::Tensor targets =
        generate_random_batch(shape.batch, shape.context, shape.config.vocab_size, torch::kCPU);
    Transformer model = create_model(
        shape.config, shape.context, device,
        {.kernels = variant.kernels, .activation_checkpointing = variant.checkpointing});
    {
        const torch::NoGradGuard no_grad;
        const auto values = source->named_parameters();
        for (auto& parameter : model->named_parameters())
            parameter.value().copy_(values[parameter.key()]);
    }
    const MatmulPrecision matmul_precision(variant.precision);
    Step step(model, ids.to(device), targets.to(device), pass, variant.precision);
    step.prepare();
    const auto run_parts = [&] {
        for (std::size_t part = 0; part < step.parts().size(); ++part) step.run(part);
    };
    std::optional<cuda::Graph> graph;
    if (variant.graph) {
        step.rehearse();
        graph.emplace();
        graph->capture(run_parts);
        graph->replay();
        cuda::synchronize();
    } else {
        run_parts();
    }
    Left left{.loss = step.loss(), .gradients = {}, .parameters = {}};
    for (const auto& parameter : model->named_parameters()) {
        const torch::Tensor& gradient = parameter.value().grad();
        CHECK(gradient.defined() == (pass != PassType::forward));
        if (gradient.defined()) left.gradients.push_back(gradient.detach().cpu().clone());
        left.parameters.push_back(parameter.value().detach().cpu().clone());
    }
    return left;
}

/// |a - b| / |b| over all elements of all tensors.
double relative_error(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
    REQUIRE(a.size() == b.size());
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += (a[i] - b[i]).to(torch::kDouble).pow(2).sum().item<double>();
        size += b[i].to(torch::kDouble).pow(2).sum().item<double>();
    }
    return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

/// The largest of the errors of single tensors, each against its own size: a gradient that is wrong
/// in a small tensor alone shows here.
double worst_error(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
    double worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        // What is next to nothing in exact arithmetic has no relative error worth the name.
        if (b[i].abs().max().item<double>() < 1e-6) continue;
        worst = std::max(worst, relative_error({a[i]}, {b[i]}));
    }
    return worst;
}

/// The stated tolerances (docs/BENCHMARKING.md), relative to the reference in fp32.
double tolerance(const Variant& variant) {
    if (variant.precision == Precision::bf16) return 0.04;
    return variant.precision == Precision::tf32 ? 5e-3 : 2e-5;
}

void check_variants(torch::Device device) {
    const auto precisions = device.is_cuda()
                                ? std::vector{Precision::fp32, Precision::tf32, Precision::bf16}
                                : std::vector{Precision::fp32, Precision::bf16};
    for (const Shape& shape : shapes())
        for (const auto& [pass, pass_name] : EnumNames<PassType>::value) {
            const Left exact = run_step(shape, {}, pass, torch::kCPU);
            for (const Kernels kernels : {Kernels::reference, Kernels::fused})
                for (const Precision precision : precisions)
                    for (const bool checkpointing : {false, true})
                        for (const bool graph : {false, true}) {
                            if (graph && !device.is_cuda()) continue;
                            if (checkpointing && pass == PassType::forward) continue;
                            const Variant variant{kernels, precision, checkpointing, graph};
                            CAPTURE(shape.name);
                            CAPTURE(pass_name);
                            CAPTURE(name_of(variant));
                            const Left left = run_step(shape, variant, pass, device);
                            const double limit = tolerance(variant);
                            const double scale =
                                pass == PassType::train_step
                                    ? std::abs(exact.loss)
                                    // A sum of numbers of both signs: what it is made of counts.
                                    : std::sqrt(static_cast<double>(shape.batch * shape.context *
                                                                    shape.config.vocab_size));
                            CHECK(std::abs(left.loss - exact.loss) <= limit * scale);
                            if (pass == PassType::forward) continue;
                            CHECK(relative_error(left.gradients, exact.gradients) <= limit);
                            CHECK(worst_error(left.gradients, exact.gradients) <= 3 * limit);
                        }
        }
}

TEST_CASE("every variant gives the reference's loss and gradients on the CPU") {
    check_variants(torch::kCPU);
}

TEST_CASE("every variant gives the reference's loss and gradients on the GPU") {
    if (!cuda::is_usable()) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    check_variants(torch::kCUDA);
}

TEST_CASE("logits are the reference's, whatever the kernels") {
    for (const Shape& shape : shapes()) {
        CAPTURE(shape.name);
        const auto logits = [&](Kernels kernels, Precision precision) {
            torch::manual_seed(3);
            Transformer model =
                create_model(shape.config, shape.context, torch::kCPU, {.kernels = kernels});
            const torch::Tensor ids = generate_random_batch(shape.batch, shape.context,
                                                            shape.config.vocab_size, torch::kCPU);
            const torch::NoGradGuard no_grad;
            const Autocast autocast(torch::kCPU, precision);
            return model->forward(ids).to(torch::kFloat);
        };
        const torch::Tensor exact = logits(Kernels::reference, Precision::fp32);
        CHECK(relative_error({logits(Kernels::fused, Precision::fp32)}, {exact}) < 2e-6);
        CHECK(relative_error({logits(Kernels::fused, Precision::bf16)}, {exact}) < 0.02);
    }
}

TEST_CASE("checkpointing changes no bit of a gradient on the CPU") {
    for (const Shape& shape : shapes())
        for (const Kernels kernels : {Kernels::reference, Kernels::fused})
            for (const Precision precision : {Precision::fp32, Precision::bf16}) {
                CAPTURE(shape.name);
                const auto pass = PassType::forward_backward;
                const Left plain = run_step(shape, {kernels, precision}, pass, torch::kCPU);
                const Left again = run_step(shape, {kernels, precision, true}, pass, torch::kCPU);
                for (std::size_t i = 0; i < plain.gradients.size(); ++i)
                    CHECK(torch::equal(plain.gradients[i], again.gradients[i]));
            }
}

TEST_CASE("a graph does what the step does, and rehearsing it moves nothing") {
    if (!cuda::is_usable()) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    for (const Kernels kernels : {Kernels::reference, Kernels::fused}) {
        const Shape& shape = shapes()[2];
        const Left plain =
            run_step(shape, {.kernels = kernels}, PassType::train_step, torch::kCUDA);
        const Left replayed = run_step(shape, {.kernels = kernels, .graph = true},
                                       PassType::train_step, torch::kCUDA);
        CHECK(replayed.loss == doctest::Approx(plain.loss).epsilon(1e-6));
        CHECK(relative_error(replayed.gradients, plain.gradients) < 1e-6);
        CHECK(relative_error(replayed.parameters, plain.parameters) < 1e-6);
    }
}

TEST_CASE("a model that fits no graph on the CPU says so") {
    const Shape& shape = shapes()[1];
    Transformer model = create_model(shape.config, shape.context, torch::kCPU);
    const torch::Tensor ids = generate_random_batch(1, 4, shape.config.vocab_size, torch::kCPU);
    CHECK_THROWS_WITH_AS(benchmark_forward(model, ids, {.cuda_graph = true}),
                         "cuda_graph needs a CUDA device", std::invalid_argument);
}

}  // namespace
}  // namespace isosweep
