// kernel-bench [kernels|products|attention]: what `kernels = fused` is made of, measured on a GPU
// (`make bench-kernels`). Three tables on stdout, or the one named:
//
//   kernels    each kernel of worker/kernels at the shapes of four models: time, bytes moved by
//              formula, a copy of as many bytes and what share of its speed is reached, and
//              LibTorch's time
//   products   the matrix products of a block, forward and for both gradients, by library
//   attention  scaled_dot_product_attention, forward and backward, by backend
//
// A figure is the median of five replays of a CUDA graph that holds many launches, each with inputs
// and outputs of its own, together more than the GPU's caches hold.

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/polar.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <isosweep/model_config.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "device.h"
#include "kernels/device_kernels.h"
#include "kernels/kernel_operations.h"
#include "libtorch_operations.h"
#include "operations.h"

namespace isosweep {
namespace {

namespace libtorch = operations::libtorch;
using torch::Tensor;

constexpr std::int64_t batch = 4;
constexpr double cache_bytes = 256e6;  // more than any GPU's
constexpr int replays = 5;

at::TensorOptions on_gpu(c10::ScalarType type) {
    return at::TensorOptions(torch::kCUDA).dtype(type);
}

Tensor random(at::IntArrayRef sizes, c10::ScalarType type = torch::kBFloat16) {
    return at::randn(sizes, on_gpu(type));
}

/// What a launch leaves; kept until all are captured, so that none writes where another one did.
using Results = std::vector<Tensor>;

/// Microseconds of one `launch`, which is given its number: 0 to count - 1.
double time_us(std::size_t count, const std::function<Results(std::size_t)>& launch) {
    launch(0);  // whatever is made at the first time
    cuda::synchronize();
    std::vector<double> times;
    {
        cuda::Graph graph;
        {
            std::vector<Results> results(count);
            graph.capture([&] {
                for (std::size_t i = 0; i < count; ++i) results[i] = launch(i);
            });
        }
        graph.replay();
        for (int i = 0; i < replays; ++i) {
            cuda::Event start;
            cuda::Event end;
            start.record();
            graph.replay();
            end.record();
            cuda::synchronize();
            times.push_back(start.ms_until(end) * 1e3 / static_cast<double>(count));
        }
    }
    cuda::release_cache();
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

/// As many sets of inputs as it takes to leave no cache a chance.
std::size_t count_for(double bytes) {
    return static_cast<std::size_t>(std::clamp(cache_bytes / bytes, 1.0, 100.0)) + 1;
}

template <typename Input>
std::vector<Input> repeated(std::size_t count, const std::function<Input()>& make) {
    std::vector<Input> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(make());
    return all;
}

/// Microseconds of a copy within the GPU's memory that moves `bytes`, half of them read and half
/// written: by the driver's copy or by LibTorch's kernel, whichever is faster.
double copy_us(double bytes) {
    const std::size_t count = count_for(bytes);
    // In whole accesses, as every kernel reads and writes.
    const auto numbers = static_cast<std::int64_t>(bytes / 2 / sizeof(float)) / 4 * 4;
    const auto make = [&] { return at::ones({numbers}, on_gpu(torch::kFloat)); };
    const auto from = repeated<Tensor>(count, make);
    const auto to = repeated<Tensor>(count, make);
    const double driver_us = time_us(count, [&](std::size_t i) {
        to[i].copy_(from[i]);
        return Results{};
    });
    const double kernel_us = time_us(count, [&](std::size_t i) {
        Tensor into = to[i];
        return Results{at::neg_out(into, from[i])};
    });
    return std::min(driver_us, kernel_us);
}

/// Runs an operation by our kernels or by LibTorch, on the inputs of a launch.
using Run = std::function<Results(const std::vector<Tensor>& inputs)>;

class KernelTable {
  public:
    KernelTable() {
        constexpr double bytes = std::int64_t{2} << 30;
        std::printf("a copy of 1 GiB: %.0f GB/s, read and written\n\n",
                    bytes / copy_us(bytes) * 1e-3);
        std::printf("%-28s %-7s %10s %10s %8s %10s %7s %12s\n", "kernel", "shape", "us", "MB",
                    "GB/s", "copy us", "copy %", "LibTorch us");
    }

    static void add(const char* kernel, const std::string& shape, double bytes,
                    const std::function<std::vector<Tensor>()>& inputs, const Run& ours,
                    const Run& libtorch) {
        const std::size_t count = count_for(bytes);
        const auto all = repeated<std::vector<Tensor>>(count, inputs);
        const double us = time_us(count, [&](std::size_t i) { return ours(all[i]); });
        const double libtorch_us = time_us(count, [&](std::size_t i) { return libtorch(all[i]); });
        const double of_copy_us = copy_us(bytes);
        std::printf("%-28s %-7s %10.2f %10.2f %8.0f %10.2f %7.1f %12.2f\n", kernel, shape.c_str(),
                    us, bytes / 1e6, bytes / us * 1e-3, of_copy_us, 100 * of_copy_us / us,
                    libtorch_us);
        std::fflush(stdout);
    }
};

void print_kernels() {
    const KernelTable table;
    kernels::Launcher& gpu = kernels::launcher(torch::kCUDA);
    const auto bf16 = torch::kBFloat16;
    const auto fp32 = torch::kFloat;
    for (const char* const name : {"small", "medium", "xl", "2.7B"}) {
        const ModelConfig config = *find_model_config(name);
        const std::int64_t sequence = 512;
        const std::int64_t rows = batch * sequence;
        const std::int64_t d = config.d_model;
        const std::int64_t f = config.d_ff;
        const std::int64_t vocabulary = config.vocab_size;
        const std::int64_t head_size = d / config.num_heads;
        const auto numbers = static_cast<double>(rows * d);
        const Tensor weight = at::ones({d}, on_gpu(fp32));
        const Tensor scale = at::ones({rows}, on_gpu(fp32));
        const Tensor angles = at::rand({sequence, head_size / 2}, on_gpu(fp32));
        const Tensor rotation = at::polar(at::ones_like(angles), angles);
        const Tensor ids = at::randint(vocabulary, {rows}, on_gpu(torch::kLong));
        const Tensor of_loss = at::ones({}, on_gpu(fp32));

        const auto of_norm = [](const operations::Normed& result) {
            return Results{result.sum, result.normed, result.scale};
        };
        table.add(
            "rms_norm", name, 6 * numbers, [&] { return std::vector{random({rows, d}, fp32)}; },
            [&](const auto& in) {
                return of_norm(*kernels::rms_norm(gpu, in[0], {}, weight, 1e-5, bf16));
            },
            [&](const auto& in) {
                return of_norm(libtorch::rms_norm(in[0], {}, weight, 1e-5, bf16));
            });
        table.add(
            "rms_norm of a sum", name, 12 * numbers,
            [&] { return std::vector{random({rows, d}, fp32), random({rows, d})}; },
            [&](const auto& in) {
                return of_norm(*kernels::rms_norm(gpu, in[0], in[1], weight, 1e-5, bf16));
            },
            [&](const auto& in) {
                return of_norm(libtorch::rms_norm(in[0], in[1], weight, 1e-5, bf16));
            });
        const auto of_gradients = [](const operations::NormGradients& result) {
            return Results{result.of_sum, result.of_addend, result.of_weight};
        };
        table.add(
            "rms_norm_backward, sum_rows", name, 16 * numbers,
            [&] {
                return std::vector{random({rows, d}), random({rows, d}, fp32),
                                   random({rows, d}, fp32)};
            },
            [&](const auto& in) {
                return of_gradients(
                    *kernels::rms_norm_backward(gpu, in[0], in[1], in[2], scale, weight, bf16));
            },
            [&](const auto& in) {
                return of_gradients(
                    libtorch::rms_norm_backward(in[0], in[1], in[2], scale, weight, bf16));
            });
        const std::vector<std::int64_t> packed{batch, sequence, 3, config.num_heads, head_size};
        table.add(
            "rotate", name, 8 * numbers, [&] { return std::vector{random(packed)}; },
            [&](const auto& in) {
                kernels::rotate(gpu, in[0], rotation);
                return Results{};
            },
            [&](const auto& in) {
                libtorch::rotate(in[0], rotation);
                return Results{};
            });
        const auto by_token = [&] {
            return random({batch, sequence, config.num_heads, head_size}).transpose(1, 2);
        };
        table.add(
            "rotate_backward", name, 12 * numbers,
            [&] { return std::vector{by_token(), by_token(), by_token()}; },
            [&](const auto& in) {
                return Results{*kernels::rotate_backward(gpu, in[0], in[1], in[2], rotation)};
            },
            [&](const auto& in) {
                return Results{libtorch::rotate_backward(in[0], in[1], in[2], rotation)};
            });
        const auto products = static_cast<double>(rows * f);
        table.add(
            "swiglu", name, 6 * products, [&] { return std::vector{random({rows, 2 * f})}; },
            [&](const auto& in) { return Results{*kernels::swiglu(gpu, in[0])}; },
            [&](const auto& in) { return Results{libtorch::swiglu(in[0])}; });
        const auto of_swiglu = [](const operations::SwiGluGradients& result) {
            return Results{result.of_gate_up, result.product};
        };
        table.add(
            "swiglu_backward", name, 12 * products,
            [&] { return std::vector{random({rows, f}), random({rows, 2 * f})}; },
            [&](const auto& in) { return of_swiglu(*kernels::swiglu_backward(gpu, in[0], in[1])); },
            [&](const auto& in) { return of_swiglu(libtorch::swiglu_backward(in[0], in[1])); });
        const std::int64_t weights = config.num_layers * (4 * d * d + 3 * d * f) + vocabulary * d;
        table.add(
            "cast", name, 6.0 * static_cast<double>(weights),
            [&] { return std::vector{at::ones({weights}, on_gpu(fp32))}; },
            [&](const auto& in) { return Results{*kernels::cast(gpu, in[0], bf16)}; },
            [&](const auto& in) { return Results{libtorch::cast(in[0], bf16)}; });
        const auto logits = static_cast<double>(rows * vocabulary);
        const auto of_loss_and_sums = [](const operations::CrossEntropy& result) {
            return Results{result.loss, result.log_sums};
        };
        table.add(
            "cross_entropy, mean", name, 2 * logits,
            [&] { return std::vector{random({rows, vocabulary})}; },
            [&](const auto& in) {
                return of_loss_and_sums(*kernels::cross_entropy(gpu, in[0], ids));
            },
            [&](const auto& in) { return of_loss_and_sums(libtorch::cross_entropy(in[0], ids)); });
        table.add(
            "cross_entropy_backward", name, 4 * logits,
            [&] { return std::vector{random({rows, vocabulary})}; },
            [&](const auto& in) {
                return Results{*kernels::cross_entropy_backward(gpu, of_loss, in[0], ids, scale)};
            },
            [&](const auto& in) {
                return Results{libtorch::cross_entropy_backward(of_loss, in[0], ids, scale)};
            });
        table.add(
            "embedding_backward", name, 4.0 * static_cast<double>(d * (vocabulary + rows)),
            [&] { return std::vector{random({rows, d}, fp32)}; },
            [&](const auto& in) {
                return Results{*kernels::embedding_backward(gpu, in[0], ids, vocabulary)};
            },
            [&](const auto& in) {
                return Results{libtorch::embedding_backward(in[0], ids, vocabulary)};
            });
    }
    const operations::Served served = operations::served(torch::kCUDA);
    std::printf("\nkernels from %s, loaded in %.0f ms%s%s\n\n", served.origin.c_str(),
                served.load_ms, served.note.empty() ? "" : "; ", served.note.c_str());
}

/// TFLOP/s of [m, k] by [k, n] in bf16, written as `out`.
double product_tflops(const Tensor& a, const Tensor& b, c10::ScalarType out,
                      at::BlasBackend backend) {
    at::globalContext().setBlasPreferredBackend(backend);
    const auto operations = 2.0 * static_cast<double>(a.size(0) * a.size(1) * b.size(1));
    const auto bytes = 2.0 * static_cast<double>(a.numel() + b.numel() + a.size(0) * b.size(1));
    const std::size_t count = std::min<std::size_t>(count_for(bytes), 20);
    // Same strides: which of both a product reads along is what libraries differ in.
    const auto alike = [](const Tensor& x) {
        return at::empty_strided(x.sizes(), x.strides(), x.options()).copy_(x);
    };
    const auto as = repeated<Tensor>(count, [&] { return alike(a); });
    const auto bs = repeated<Tensor>(count, [&] { return alike(b); });
    const double us = time_us(count, [&](std::size_t i) {
        return Results{out == torch::kFloat ? at::mm(as[i], bs[i], out) : at::mm(as[i], bs[i])};
    });
    return operations / us * 1e-6;
}

void print_products() {
    std::printf("TFLOP/s of products in bf16%41s\n", "written as bf16      written as fp32");
    std::printf("%-22s %-8s %17s %10s %10s %10s %10s\n", "layer", "pass", "m x n x k", "cuBLAS",
                "cuBLASLt", "cuBLAS", "cuBLASLt");
    struct Layer {
        const char* name;
        std::int64_t out;
        std::int64_t in;
    };
    for (const char* const name : {"small", "medium", "2.7B"}) {
        const ModelConfig config = *find_model_config(name);
        const std::int64_t rows = batch * 512;
        const std::int64_t d = config.d_model;
        for (const Layer& layer :
             {Layer{"qkv", 3 * d, d}, Layer{"output", d, d}, Layer{"gate, up", 2 * config.d_ff, d},
              Layer{"down", d, config.d_ff}, Layer{"logits", config.vocab_size, d}}) {
            const Tensor x = random({rows, layer.in});
            const Tensor weight = random({layer.out, layer.in});
            const Tensor of_y = random({rows, layer.out});
            struct Pass {
                const char* name;
                Tensor a;
                Tensor b;
            };
            for (const Pass& pass : {Pass{"forward", x, weight.t()}, Pass{"of x", of_y, weight},
                                     Pass{"of w", of_y.t(), x}}) {
                const std::string size = std::to_string(pass.a.size(0)) + "x" +
                                         std::to_string(pass.b.size(1)) + "x" +
                                         std::to_string(pass.a.size(1));
                std::printf("%-22s %-8s %17s", (std::string(name) + " " + layer.name).c_str(),
                            pass.name, size.c_str());
                for (const c10::ScalarType out : {torch::kBFloat16, torch::kFloat})
                    for (const at::BlasBackend backend :
                         {at::BlasBackend::Cublas, at::BlasBackend::Cublaslt})
                        std::printf(" %10.0f", product_tflops(pass.a, pass.b, out, backend));
                std::printf("\n");
                std::fflush(stdout);
            }
        }
    }
    at::globalContext().setBlasPreferredBackend(at::BlasBackend::Default);
    std::printf("\n");
}

void print_attention() {
    std::printf("us of causal attention in bf16, forward / forward and backward\n%-14s", "shape");
    struct Backend {
        const char* name;
        std::function<void(bool)> use;
    };
    at::Context& context = at::globalContext();
    const std::vector<Backend> backends = {
        {"flash", [&](bool on) { context.setSDPUseFlash(on); }},
        {"cudnn", [&](bool on) { context.setSDPUseCuDNN(on); }},
        {"efficient", [&](bool on) { context.setSDPUseMemEfficient(on); }}};
    context.setSDPUseMath(false);
    for (const Backend& backend : backends) std::printf(" %20s", backend.name);
    std::printf("\n");
    for (const auto& [name, sequence] :
         {std::pair{"small", 128}, {"small", 512}, {"medium", 512}, {"2.7B", 512}, {"xl", 1024}}) {
        const ModelConfig config = *find_model_config(name);
        const std::int64_t head_size = config.d_model / config.num_heads;
        std::printf("%-14s", (std::string(name) + " " + std::to_string(sequence)).c_str());
        for (const Backend& chosen : backends) {
            for (const Backend& backend : backends) backend.use(&backend == &chosen);
            // As the projections leave them: parts of one product.
            const auto make = [&] {
                const Tensor packed = random({batch, sequence, 3, config.num_heads, head_size});
                std::vector<Tensor> heads;
                for (const Tensor& part : packed.unbind(2))
                    heads.push_back(part.transpose(1, 2).detach().requires_grad_());
                return heads;
            };
            const Tensor of_mixed =
                random({batch, sequence, config.num_heads, head_size}).transpose(1, 2);
            const auto forward = [](const std::vector<Tensor>& heads) {
                return at::scaled_dot_product_attention(heads[0], heads[1], heads[2], {}, 0,
                                                        /*is_causal=*/true);
            };
            std::string text;
            try {
                const auto bytes = 14.0 * static_cast<double>(of_mixed.numel());
                const std::size_t count = count_for(bytes);
                const auto all = repeated<std::vector<Tensor>>(count, make);
                const double forward_us = time_us(count, [&](std::size_t i) {
                    const at::NoGradGuard no_grad;
                    return Results{forward(all[i])};
                });
                const double both_us = time_us(count, [&](std::size_t i) {
                    return torch::autograd::grad({forward(all[i])}, all[i], {of_mixed});
                });
                char buffer[64];
                std::snprintf(buffer, sizeof buffer, "%.1f / %.1f", forward_us, both_us);
                text = buffer;
            } catch (const c10::Error&) {
                text = "-";  // the backend does not take these shapes
            }
            std::printf(" %20s", text.c_str());
            std::fflush(stdout);
        }
        std::printf("\n");
    }
}

}  // namespace
}  // namespace isosweep

int main(int argc, char** argv) {
    using namespace isosweep;
    const std::string_view wanted = argc > 1 ? argv[1] : "";
    if (!cuda::is_usable()) {
        std::fprintf(stderr, "kernel-bench: there is no GPU\n");
        return 1;
    }
    try {
        cuda::initialize();
        if (wanted.empty() || wanted == "kernels") {
            const at::NoGradGuard no_grad;
            print_kernels();
        }
        if (wanted.empty() || wanted == "products") {
            const at::NoGradGuard no_grad;
            print_products();
        }
        if (wanted.empty() || wanted == "attention") print_attention();
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "kernel-bench: %s\n", problem.what());
        return 1;
    }
    std::fflush(nullptr);
    ::_exit(0);  // as the worker ends
}
