// The Transformer and AdamW against the course's, in fp32 on the CPU (tests/golden/*.json).

#include <doctest/doctest.h>
#include <isosweep/transformer.h>

#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "step.h"

namespace isosweep {
namespace {

namespace json = boost::json;

json::object read_golden(const std::string& name) {
    std::ifstream file(ISOSWEEP_GOLDEN_DIR "/" + name);
    REQUIRE_MESSAGE(file, "no golden file ", name);
    return json::parse(std::string(std::istreambuf_iterator<char>(file), {})).as_object();
}

std::vector<double> numbers(const json::value& array) {
    std::vector<double> values;
    for (const json::value& value : array.as_array()) values.push_back(value.to_number<double>());
    return values;
}

std::vector<double> numbers(const torch::Tensor& tensor) {
    const torch::Tensor flat = tensor.detach().to(torch::kDouble).flatten().contiguous();
    return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

torch::Tensor ids_of(const json::value& rows) {
    std::vector<torch::Tensor> tensors;
    for (const json::value& row : rows.as_array())
        tensors.push_back(torch::tensor(json::value_to<std::vector<std::int64_t>>(row)));
    return torch::stack(tensors);
}

/// The fill that the golden files describe.
void fill(Transformer& model) {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->named_parameters()) {
        int bytes = 0;
        for (const char c : parameter.key()) bytes += static_cast<unsigned char>(c);
        torch::Tensor& weight = parameter.value();
        const torch::Tensor i = torch::arange(1, weight.numel() + 1, torch::kDouble);
        const torch::Tensor s = torch::sin(0.1 * i + 0.01 * (bytes % 997));
        const torch::Tensor values =
            weight.dim() == 1 ? 1 + 0.1 * s : s / std::sqrt(static_cast<double>(weight.size(1)));
        weight.copy_(values.view(weight.sizes()));
    }
}

double largest_magnitude(const std::vector<double>& values) {
    double magnitude = 0;
    for (const double value : values) magnitude = std::max(magnitude, std::abs(value));
    return magnitude;
}

/// The largest difference over the largest magnitude of what is compared; `magnitude` is that where
/// only some of the values are at hand.
double relative_difference(const std::vector<double>& actual, const std::vector<double>& expected,
                           double magnitude = 0) {
    REQUIRE(actual.size() == expected.size());
    double difference = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
        difference = std::max(difference, std::abs(actual[i] - expected[i]));
    return difference / std::max(magnitude, largest_magnitude(expected));
}

struct Golden {
    json::object file;
    ModelConfig config;
    Transformer model = nullptr;
    torch::Tensor input;
    torch::Tensor target;
};

Golden load(const std::string& name, Kernels kernels) {
    Golden golden{.file = read_golden(name), .config = {}, .input = {}, .target = {}};
    const json::object& config = golden.file.at("config").as_object();
    golden.config = {.d_model = config.at("d_model").as_int64(),
                     .d_ff = config.at("d_ff").as_int64(),
                     .num_layers = config.at("num_layers").as_int64(),
                     .num_heads = config.at("num_heads").as_int64(),
                     .vocab_size = config.at("vocab_size").as_int64()};
    golden.model = create_model(golden.config, config.at("context_length").as_int64(), torch::kCPU,
                                {.kernels = kernels});
    fill(golden.model);
    golden.input = ids_of(golden.file.at("input"));
    golden.target = ids_of(golden.file.at("target"));
    return golden;
}

constexpr double tolerance = 1e-4;

/// Calls `check` with each golden model by each kind of kernels.
template <class Check>
void for_each_golden(const Check& check) {
    for (const std::string name : {"transformer_a.json", "transformer_b.json"})
        for (const Kernels kernels : {Kernels::reference, Kernels::fused}) {
            CAPTURE(name);
            CAPTURE(to_text(kernels));
            check(load(name, kernels));
        }
}

/// Runs forward and backward of `pass_type` and compares every parameter's gradient.
void check_gradients(const Golden& golden, PassType pass_type, std::string_view key) {
    Step step(golden.model, golden.input, golden.target, pass_type, Precision::fp32);
    step.prepare();
    step.run(0);
    step.run(1);
    const json::object& expected = golden.file.at(key).as_object();
    REQUIRE(golden.model->named_parameters().size() == expected.size());
    double worst = 0;
    for (const auto& parameter : golden.model->named_parameters()) {
        CAPTURE(parameter.key());
        const json::object& of_parameter = expected.at(parameter.key()).as_object();
        const torch::Tensor gradient = parameter.value().grad();
        const double norm = gradient.to(torch::kDouble).norm().item<double>();
        const double of_norm =
            relative_difference({norm}, {of_parameter.at("l2").to_number<double>()});
        const double of_first = relative_difference(numbers(gradient.flatten().narrow(0, 0, 4)),
                                                    numbers(of_parameter.at("first")),
                                                    largest_magnitude(numbers(gradient)));
        CHECK(of_norm < tolerance);
        CHECK(of_first < tolerance);
        worst = std::max({worst, of_norm, of_first});
    }
    MESSAGE(key, ": worst difference ", worst);
}

TEST_CASE("the logits are the course's") {
    for_each_golden([](Golden golden) {
        CHECK(num_params(golden.config) == golden.file.at("num_params").as_int64());
        const torch::Tensor logits = golden.model->forward(golden.input);
        const double difference =
            relative_difference(numbers(logits), numbers(golden.file.at("logits")));
        MESSAGE("worst difference ", difference);
        CHECK(difference < tolerance);
    });
}

TEST_CASE("the gradients of the logits' sum are the course's") {
    for_each_golden([](const Golden& golden) {
        check_gradients(golden, PassType::forward_backward, "grads_of_sum_logits");
    });
}

TEST_CASE("the gradients of the cross entropy are the course's") {
    for_each_golden([](const Golden& golden) {
        check_gradients(golden, PassType::train_step, "grads_of_cross_entropy");
    });
}

TEST_CASE("six steps of AdamW have the course's losses") {
    for_each_golden([](const Golden& golden) {
        Step step(golden.model, golden.input, golden.target, PassType::train_step, Precision::fp32);
        std::vector<double> losses;
        for (int i = 0; i < 6; ++i) {
            step.prepare();
            for (std::size_t part = 0; part < step.parts().size(); ++part) step.run(part);
            losses.push_back(step.loss());
        }
        const double difference = relative_difference(losses, numbers(golden.file.at("losses")));
        MESSAGE("worst difference ", difference);
        CHECK(difference < tolerance);
    });
}

}  // namespace
}  // namespace isosweep
