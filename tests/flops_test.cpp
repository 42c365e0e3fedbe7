#include <doctest/doctest.h>
#include <isosweep/flops.h>

#include <cmath>

using namespace isosweep;

namespace {

ModelConfig size(const char* name) {
    const ModelConfig* const config = find_model_config(name);
    REQUIRE(config);
    return *config;
}

doctest::Approx to_7_digits(double value) { return doctest::Approx(value).epsilon(5e-7); }

}  // namespace

TEST_CASE("the arithmetic of the known sizes at batch 4, context 512") {
    struct Golden {
        const char* name;
        std::int64_t params;
        std::int64_t matmul_params;
        double forward;
        double causal;
        double train;
    };
    for (const Golden& golden : {
             Golden{"small", 128'625'408, 120'926'208, 5.339685e11, 5.146788e11, 1.601905e12},
             Golden{"medium", 423'183'360, 412'893'184, 1.794290e12, 1.742851e12, 5.382869e12},
             Golden{"large", 969'411'840, 956'518'400, 4.111173e12, 4.014725e12, 1.233352e13},
             Golden{"2.7B", 3'406'809'600, 3'381'043'200, 1.419235e13, 1.402089e13, 4.257705e13},
             Golden{"10B", 12'832'823'808, 12'786'278'400, 5.333896e13, 5.285672e13, 1.600169e14},
         }) {
        CAPTURE(golden.name);
        const ModelConfig config = size(golden.name);
        CHECK(num_params(config) == golden.params);
        CHECK(matmul_params(config) == golden.matmul_params);
        // What is no factor of a product: the input embedding and the norms.
        CHECK(num_params(config) - matmul_params(config) ==
              config.d_model * (config.vocab_size + 2 * config.num_layers + 1));
        const ForwardFlops forward = forward_flops(config, 4, 512);
        CHECK(forward.full() == to_7_digits(golden.forward));
        CHECK(forward.causal() == to_7_digits(golden.causal));
        CHECK(step_flops(config, 4, 512, PassType::train_step, false).model ==
              to_7_digits(golden.train));
    }
}

TEST_CASE("a backward pass is two forward passes, and checkpointing one more") {
    const ModelConfig config = size("small");
    const ForwardFlops forward = forward_flops(config, 4, 512);
    for (const bool checkpointing : {false, true}) {
        const StepFlops alone = step_flops(config, 4, 512, PassType::forward, checkpointing);
        CHECK(alone.model == forward.full());
        CHECK(alone.model_causal == forward.causal());
        CHECK(alone.hardware == forward.full());
        for (const PassType pass : {PassType::forward_backward, PassType::train_step}) {
            const StepFlops step = step_flops(config, 4, 512, pass, checkpointing);
            CHECK(step.model == 3 * forward.full());
            CHECK(step.model_causal == 3 * forward.causal());
            CHECK(step.hardware == (checkpointing ? 4 : 3) * forward.full());
        }
    }
}

TEST_CASE("the count agrees with PaLM's but for the norms") {
    const ModelConfig c = size("small");
    const auto n = static_cast<double>(num_params(c) - c.vocab_size * c.d_model);
    const double per_token = 6 * n + 12 * static_cast<double>(c.num_layers * c.d_model) * 512;
    const double step = step_flops(c, 4, 512, PassType::train_step, false).model;
    CHECK(std::abs(per_token * 4 * 512 / step - 1) < 1.5e-4);
}

TEST_CASE("the largest cell that can be written has a finite count") {
    const ModelConfig config{1'000'000, 1'000'000, 1'000'000, 1, 10000};
    const StepFlops step =
        step_flops(config, 1'000'000'000, 1'000'000'000, PassType::train_step, true);
    CHECK(std::isfinite(step.hardware));
    CHECK(step.hardware > step.model);
}
