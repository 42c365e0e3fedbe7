// Times the passes of one small model, from C++: what the course's module offers from Python.

#include <isosweep/benchmark.h>

#include <iomanip>
#include <iostream>

int main() {
    const isosweep::ModelConfig tiny = *isosweep::find_model_config("tiny");
    const torch::Device device = torch::kCPU;
    constexpr std::int64_t kContextLength = 64;

    isosweep::Transformer model = isosweep::create_model(tiny, kContextLength, device);
    const torch::Tensor ids = isosweep::generate_random_batch(
        /*batch_size=*/2, kContextLength, tiny.vocab_size, device);
    std::cout << "a model of " << isosweep::num_params(tiny) << " parameters, the first named "
              << model->named_parameters()[0].key() << "\n";

    const isosweep::BenchmarkOptions options{.warmup_steps = 1, .measure_steps = 3};
    const auto show = [](const char* name, const isosweep::BenchmarkResult& result) {
        std::cout << std::left << std::setw(18) << name << result.mean_ms << " ms, deviation "
                  << result.std_ms << "\n";
    };
    show("forward", benchmark_forward(model, ids, options));
    show("forward_backward", benchmark_forward_backward(model, ids, options));
    show("train_step", benchmark_train_step(model, ids, options));
}
