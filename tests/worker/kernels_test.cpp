// Every kernel computes what LibTorch's operations compute: its source run on the host, and the
// compiled one on a GPU where there is one. Then how kernels are compiled and kept.

#include <ATen/ops/arange.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "device.h"
#include "kernels/cache.h"
#include "kernels/compiler.h"
#include "kernels/device_kernels.h"
#include "kernels/kernel_operations.h"
#include "kernels/sources.h"
#include "libtorch_operations.h"
#include "operations.h"
#include "program.h"

// Last, since it defines CUDA's words.
#include "cuda_on_host.h"
#include "kernels/common.cuh"

namespace isosweep {
namespace {

// NOLINTBEGIN(bugprone-suspicious-include): the kernels in each of their variants
namespace fp32_wide {
#define NUMBER float
#define WIDE 1
#include "kernels/kernels.cu"
#undef WIDE
}  // namespace fp32_wide
namespace fp32_narrow {
#define WIDE 0
#include "kernels/kernels.cu"
#undef NUMBER
#undef WIDE
}  // namespace fp32_narrow
namespace bf16_wide {
#define NUMBER bf16
#define WIDE 1
#include "kernels/kernels.cu"
#undef WIDE
}  // namespace bf16_wide
namespace bf16_narrow {
#define WIDE 0
#include "kernels/kernels.cu"
#undef NUMBER
#undef WIDE
}  // namespace bf16_narrow
// NOLINTEND(bugprone-suspicious-include)

using torch::Tensor;

template <typename... Parameters>
std::function<void(void**)> callable(void (*kernel)(Parameters...)) {
    return [kernel](void** arguments) {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            kernel(*static_cast<Parameters*>(arguments[I])...);
        }(std::index_sequence_for<Parameters...>{});
    };
}

#define KERNELS_OF(variant)                                                    \
    {                                                                          \
        {"cast", callable(variant::cast)},                                     \
        {"cross_entropy", callable(variant::cross_entropy)},                   \
        {"cross_entropy_backward", callable(variant::cross_entropy_backward)}, \
        {"embedding_backward", callable(variant::embedding_backward)},         \
        {"mean", callable(variant::mean)},                                     \
        {"rms_norm", callable(variant::rms_norm)},                             \
        {"rms_norm_backward", callable(variant::rms_norm_backward)},           \
        {"rms_norm_of_fp32_sum", callable(variant::rms_norm_of_fp32_sum)},     \
        {"rms_norm_of_sum", callable(variant::rms_norm_of_sum)},               \
        {"rotate", callable(variant::rotate)},                                 \
        {"rotate_backward", callable(variant::rotate_backward)},               \
        {"sum_rows", callable(variant::sum_rows)},                             \
        {"swiglu", callable(variant::swiglu)},                                 \
        {"swiglu_backward", callable(variant::swiglu_backward)},               \
    }

/// Runs the kernels' sources.
class Host : public kernels::Launcher {
  public:
    bool has(kernels::Variant) override { return true; }
    bool is_loaded(kernels::Variant) const override { return true; }
    int multiprocessors() const override { return 3; }

    void launch(const kernels::Launch& what, void** arguments) override {
        static const std::map<kernels::Variant,
                              std::map<std::string_view, std::function<void(void**)>>>
            all = {{{.is_bf16 = false, .is_wide = false}, KERNELS_OF(fp32_narrow)},
                   {{.is_bf16 = false, .is_wide = true}, KERNELS_OF(fp32_wide)},
                   {{.is_bf16 = true, .is_wide = false}, KERNELS_OF(bf16_narrow)},
                   {{.is_bf16 = true, .is_wide = true}, KERNELS_OF(bf16_wide)}};
        const auto& kernel = all.at(what.variant).at(what.kernel);
        REQUIRE(what.threads % 32 == 0);
        REQUIRE(what.threads <= 1024);
        const auto blocks = static_cast<unsigned int>(what.blocks);
        const auto blocks_y = static_cast<unsigned int>(what.blocks_y);
        blockDim.x = static_cast<unsigned int>(what.threads);
        gridDim = {blocks, blocks_y};
        for (blockIdx.y = 0; blockIdx.y < blocks_y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
                Block(static_cast<std::size_t>(what.threads), [&] { kernel(arguments); }).run();
    }
};

/// Where kernels run, and what their tensors are on.
struct Place {
    kernels::Launcher& launcher;
    torch::Device device;
};

/// Runs `check` on the host, and on a GPU if there is one. With ISOSWEEP_TEST_GPU_ALONE set, not on
/// the host: under compute-sanitizer that would take most of the time.
void at_every_place(const std::function<void(const Place&)>& check) {
    torch::manual_seed(5);
    if (std::getenv("ISOSWEEP_TEST_GPU_ALONE") == nullptr) {
        Host host;
        check({host, torch::kCPU});
    }
    if (!cuda::is_usable()) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    cuda::initialize();
    check({kernels::launcher(torch::kCUDA), torch::kCUDA});
}

constexpr std::array types = {torch::kFloat, torch::kBFloat16};
const std::vector<std::int64_t> row_counts = {1, 3, 130};
const std::vector<std::int64_t> widths = {1, 7, 33, 768, 1000, 1600, 10000};

void at_every_shape(const std::function<void(const Place&, std::int64_t rows, std::int64_t width,
                                             c10::ScalarType type)>& check) {
    at_every_place([&](const Place& place) {
        for (const std::int64_t rows : row_counts)
            for (const std::int64_t width : widths)
                for (const c10::ScalarType type : types) {
                    CAPTURE(place.device.str());
                    CAPTURE(rows);
                    CAPTURE(width);
                    CAPTURE(std::string(c10::toString(type)));
                    check(place, rows, width, type);
                }
    });
}

Tensor fp32(const Tensor& x) { return x.to(torch::kFloat); }

/// Each number within the rounding of its type, and within what sums in another order differ by.
void check_close(const Tensor& found, const Tensor& expected) {
    REQUIRE(found.defined());
    REQUIRE(found.sizes() == expected.sizes());
    const double rounding = found.scalar_type() == torch::kBFloat16 ? 1.0 / 256 : 1e-5;
    const double size = expected.numel() == 0 ? 0 : expected.abs().max().item<double>();
    const Tensor on_cpu = fp32(found.cpu());
    INFO("largest difference: " << (on_cpu - expected).abs().max().item<double>() << " of "
                                << size);
    CHECK(at::allclose(on_cpu, expected, rounding, 3e-6 * size));
}

/// Random, in `type`; kept by the caller as it is on the CPU.
Tensor random(at::IntArrayRef sizes, c10::ScalarType type = torch::kFloat) {
    return at::randn(sizes).to(type);
}

TEST_CASE("rms_norm gives the sum, its norm and the scale") {
    at_every_shape(
        [](const Place& place, std::int64_t rows, std::int64_t width, c10::ScalarType type) {
            const Tensor x = random({rows, width});
            const Tensor weight = random({width});
            for (const Tensor& addend :
                 {Tensor(), random({rows, width}), random({rows, width}, torch::kBFloat16)}) {
                CAPTURE(addend.defined());
                const auto found =
                    kernels::rms_norm(place.launcher, x.to(place.device),
                                      addend.defined() ? addend.to(place.device) : addend,
                                      weight.to(place.device), 1e-5, type);
                if (width > 8192) {
                    CHECK_FALSE(found);
                    continue;
                }
                REQUIRE(found);
                const auto expected =
                    operations::libtorch::rms_norm(x, addend, weight, 1e-5, torch::kFloat);
                CHECK(torch::equal(found->sum.cpu(), expected.sum));
                check_close(found->normed, expected.normed);
                CHECK((found->normed.scalar_type() == type));
                check_close(found->scale, expected.scale);
            }
        });
}

TEST_CASE("rms_norm_backward gives the gradients of sum, addend and weight") {
    at_every_shape([](const Place& place, std::int64_t rows, std::int64_t width,
                      c10::ScalarType type) {
        const Tensor of_normed = random({rows, width}, type);
        const Tensor weight = random({width});
        const auto normed =
            operations::libtorch::rms_norm(random({rows, width}), {}, weight, 1e-5, torch::kFloat);
        for (const Tensor& later : {Tensor(), random({rows, width})})
            for (const c10::ScalarType addend_type : types) {
                const auto found = kernels::rms_norm_backward(
                    place.launcher, of_normed.to(place.device),
                    later.defined() ? later.to(place.device) : later, normed.sum.to(place.device),
                    normed.scale.to(place.device), weight.to(place.device), addend_type);
                if (width > 8192) {
                    CHECK_FALSE(found);
                    continue;
                }
                REQUIRE(found);
                const auto expected = operations::libtorch::rms_norm_backward(
                    of_normed, later, normed.sum, normed.scale, weight, torch::kFloat);
                // With a single column the gradient is next to nothing of what it is made of.
                if (width > 1) check_close(found->of_sum, expected.of_sum);
                check_close(found->of_weight, expected.of_weight);
                CHECK((found->of_addend.scalar_type() == addend_type));
                CHECK(torch::equal(found->of_addend, found->of_sum.to(addend_type)));
            }
    });
}

TEST_CASE("swiglu and its gradient") {
    at_every_shape(
        [](const Place& place, std::int64_t rows, std::int64_t width, c10::ScalarType type) {
            const Tensor gate_up = random({rows, 2 * width}, type) * 3;
            const auto found = kernels::swiglu(place.launcher, gate_up.to(place.device));
            REQUIRE(found);
            const Tensor expected = operations::libtorch::swiglu(fp32(gate_up));
            check_close(*found, expected);

            const Tensor of_product = random({rows, width}, type);
            const auto gradients = kernels::swiglu_backward(
                place.launcher, of_product.to(place.device), gate_up.to(place.device));
            REQUIRE(gradients);
            CHECK(torch::equal(gradients->product, *found));
            check_close(
                gradients->of_gate_up,
                operations::libtorch::swiglu_backward(fp32(of_product), fp32(gate_up)).of_gate_up);
        });
}

TEST_CASE("swiglu of gates whose exponential is infinite or nothing is finite") {
    at_every_place([](const Place& place) {
        const Tensor gate_up =
            torch::tensor({-200.0F, 200.0F, -88.0F, 0.0F, 1.0F, 1.0F, 1.0F, 1.0F})
                .view({1, 8})
                .to(place.device);
        check_close(*kernels::swiglu(place.launcher, gate_up),
                    torch::tensor({{0.0F, 200.0F, 0.0F, 0.0F}}));
        const Tensor ones = at::ones({1, 4}, gate_up.options());
        const auto gradients = kernels::swiglu_backward(place.launcher, ones, gate_up);
        check_close(gradients->of_gate_up,
                    torch::tensor({{0.0F, 1.0F, 0.0F, 0.5F, 0.0F, 200.0F, 0.0F, 0.0F}}));
    });
}

TEST_CASE("cross entropy and its gradient") {
    at_every_shape(
        [](const Place& place, std::int64_t rows, std::int64_t width, c10::ScalarType type) {
            const Tensor logits = random({rows, width}, type) * 4;
            const Tensor targets = at::randint(width, {rows}, torch::kLong);
            const auto found = kernels::cross_entropy(place.launcher, logits.to(place.device),
                                                      targets.to(place.device));
            REQUIRE(found);
            const auto expected = operations::libtorch::cross_entropy(fp32(logits), targets);
            check_close(found->log_sums, expected.log_sums);
            // What a difference of two close numbers loses counts against those.
            CHECK(std::abs(found->loss.item<double>() - expected.loss.item<double>()) <=
                  1e-6 * (1 + expected.log_sums.abs().max().item<double>()));

            const Tensor of_loss = torch::tensor(3.0F);
            const auto of_logits = kernels::cross_entropy_backward(
                place.launcher, of_loss.to(place.device), logits.to(place.device),
                targets.to(place.device), expected.log_sums.to(place.device));
            REQUIRE(of_logits);
            CHECK((of_logits->scalar_type() == type));
            check_close(*of_logits, operations::libtorch::cross_entropy_backward(
                                        of_loss, fp32(logits), targets, expected.log_sums));
        });
}

TEST_CASE("cross entropy of logits that are huge, or rule a token out") {
    at_every_place([](const Place& place) {
        constexpr float infinity = std::numeric_limits<float>::infinity();
        const Tensor logits = torch::tensor(
            {{1e4F, 1e4F, -infinity, -1e4F}, {-infinity, -infinity, -infinity, 3.0F}});
        const Tensor targets = torch::tensor({0, 3}, torch::kLong);
        const auto found = kernels::cross_entropy(place.launcher, logits.to(place.device),
                                                  targets.to(place.device));
        check_close(found->log_sums, torch::tensor({1e4F + std::log(2.0F), 3.0F}));
        CHECK(found->loss.item<double>() == doctest::Approx(std::log(2.0) / 2).epsilon(1e-3));
    });
}

struct HeadsShape {
    std::int64_t batch;
    std::int64_t sequence;
    std::int64_t heads;
    std::int64_t head_size;
};

TEST_CASE("rotate turns queries and keys, and rotate_backward turns back") {
    at_every_place([](const Place& place) {
        for (const auto& [batch, sequence, heads, head_size] :
             {HeadsShape{1, 1, 1, 2}, HeadsShape{2, 19, 3, 10}, HeadsShape{3, 7, 12, 64},
              HeadsShape{1, 5, 32, 80}, HeadsShape{2, 3, 5, 4}})
            for (const c10::ScalarType type : types) {
                CAPTURE(place.device.str());
                CAPTURE(head_size);
                CAPTURE(std::string(c10::toString(type)));
                const Tensor angles = at::rand({sequence + 2, head_size / 2}) * 100;
                const Tensor rotation =
                    at::complex(angles.cos(), angles.sin()).narrow(0, 0, sequence);
                const Tensor packed = random({batch, sequence, 3, heads, head_size}, type);

                const Tensor turned = packed.to(place.device, type, /*non_blocking=*/false,
                                                /*copy=*/true);
                REQUIRE(kernels::rotate(place.launcher, turned, rotation.to(place.device)));
                const Tensor expected = fp32(packed).clone();
                operations::libtorch::rotate(expected, rotation);
                check_close(turned, expected);

                // As attention gives them: by head, or by token; values in between other numbers.
                const auto part = [&](std::int64_t i) {
                    return packed.select(2, i).transpose(1, 2);
                };
                const Tensor wider = random({batch, heads, sequence, head_size + 8}, type);
                const Tensor of_queries = part(0);
                const Tensor of_keys = part(1).contiguous();
                const Tensor of_values = wider.narrow(3, 0, head_size);
                const auto on_device = [&](const Tensor& x) {
                    Tensor copy =
                        at::empty_strided(x.sizes(), x.strides(), x.options().device(place.device));
                    return copy.copy_(x);
                };
                const auto found = kernels::rotate_backward(
                    place.launcher, on_device(of_queries), on_device(of_keys), on_device(of_values),
                    rotation.to(place.device));
                REQUIRE(found);
                CHECK(found->is_contiguous());
                check_close(*found,
                            operations::libtorch::rotate_backward(fp32(of_queries), fp32(of_keys),
                                                                  fp32(of_values), rotation));
            }
    });
}

TEST_CASE("cast rounds to the nearest, ties to even, wherever the block begins") {
    at_every_place([](const Place& place) {
        const Tensor special = torch::tensor(
            {0.0F, -0.0F, 1.00390625F, 1.01171875F, std::numeric_limits<float>::infinity(),
             -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::max(), 1e-40F,
             -3e-39F, 1.0F / 3.0F});
        for (const std::int64_t count : {1, 7, 8, 64, 1000, 8192, 20011}) {
            const Tensor block = at::cat({special, random({count})}).to(place.device);
            for (const std::int64_t start : {0, 1, 4}) {
                CAPTURE(count);
                CAPTURE(start);
                const Tensor part = block.narrow(0, start, block.size(0) - start);
                const auto found = kernels::cast(place.launcher, part, torch::kBFloat16);
                REQUIRE(found);
                CHECK(torch::equal(*found, part.to(torch::kBFloat16)));
            }
        }
        const auto nan =
            kernels::cast(place.launcher,
                          torch::tensor({std::numeric_limits<float>::quiet_NaN()}).to(place.device),
                          torch::kBFloat16);
        CHECK(nan->isnan().all().item<bool>());
        CHECK_FALSE(kernels::cast(place.launcher, at::ones({4}, place.device), torch::kFloat));
    });
}

TEST_CASE("embedding_backward sums the gradients of the rows with an id, in their order") {
    at_every_place([](const Place& place) {
        for (const std::int64_t rows : {1, 3, 130, 5000})
            for (const std::int64_t width : {1, 7, 32, 300})
                for (const std::int64_t vocabulary : {1, 16, 41, 1000}) {
                    // Rows of several accesses a lane need no more blocks than narrow ones.
                    if (width == 300 && vocabulary == 1000) continue;
                    CAPTURE(place.device.str());
                    CAPTURE(rows);
                    CAPTURE(width);
                    CAPTURE(vocabulary);
                    const Tensor of_x = random({rows, width});
                    const Tensor ids = at::randint(vocabulary, {rows}, torch::kLong);
                    const auto again = [&] {
                        return kernels::embedding_backward(place.launcher, of_x.to(place.device),
                                                           ids.to(place.device), vocabulary);
                    };
                    const auto found = again();
                    REQUIRE(found);
                    check_close(*found,
                                operations::libtorch::embedding_backward(of_x, ids, vocabulary));
                    CHECK(torch::equal(*found, *again()));
                }
    });
}

TEST_CASE("tensors that begin between two accesses are taken one number at a time") {
    at_every_place([](const Place& place) {
        for (const c10::ScalarType type : types) {
            const Tensor all = random({514}, type);
            const Tensor part = all.narrow(0, 2, 512).view({8, 64});
            const Tensor on_device = all.to(place.device).narrow(0, 2, 512).view({8, 64});
            check_close(*kernels::swiglu(place.launcher, on_device),
                        operations::libtorch::swiglu(fp32(part)));
            const Tensor targets = at::arange(8, torch::kLong);
            check_close(kernels::cross_entropy(place.launcher, on_device, targets.to(place.device))
                            ->log_sums,
                        operations::libtorch::cross_entropy(fp32(part), targets).log_sums);
        }
    });
}

TEST_CASE("no rows are left to LibTorch") {
    Host host;
    CHECK_FALSE(kernels::swiglu(host, at::empty({0, 8})));
    CHECK_FALSE(kernels::rms_norm(host, at::empty({0, 8}), {}, at::ones({8}), 1e-5, torch::kFloat));
    CHECK_FALSE(kernels::swiglu(host, at::ones({2, 8}, torch::kDouble)));
}

TEST_CASE("on a CPU LibTorch's operations serve") {
    const auto served = operations::served(torch::kCPU);
    CHECK(served.backend == "libtorch");
    CHECK(served.origin.empty());
}

TEST_CASE("on a GPU our kernels serve") {
    if (!cuda::is_usable()) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    cuda::initialize();
    static_cast<void>(operations::cast(at::ones({64}, torch::kCUDA), torch::kBFloat16));
    const auto served = operations::served(torch::kCUDA);
    MESSAGE("kernels from " << served.origin << " in " << served.load_ms << " ms " << served.note);
    CHECK(served.backend == "cuda");
    CHECK(served.load_ms > 0);
}

TEST_CASE("a worker compiles kernels once, and again where what it kept is damaged") {
    if (!cuda::is_usable()) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    const auto report = [] {
        return run_worker({"--model-size", "tiny", "--context-length", "32", "--batch-size", "1",
                           "--kernels", "fused", "--precision", "bf16", "--device", "cuda"},
                          {}, /*with_cuda=*/true)
            .out;
    };
    const TemporaryFolder folder;
    ::setenv("XDG_CACHE_HOME", folder.file("cache").c_str(), 1);
    CHECK(report().find("cuda (nvrtc)") != std::string::npos);
    CHECK(report().find("cuda (cache)") != std::string::npos);
    for (const auto& file : std::filesystem::directory_iterator(folder.file("cache/isosweep")))
        std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
    CHECK(report().find("cuda (nvrtc)") != std::string::npos);
    CHECK(report().find("cuda (cache)") != std::string::npos);

    std::ofstream(folder.file("no_folder")) << "a file";
    ::setenv("XDG_CACHE_HOME", folder.file("no_folder").c_str(), 1);
    const std::string unkept = report();
    CHECK(unkept.find("cuda (nvrtc)") != std::string::npos);
    CHECK(unkept.find("Not a directory") != std::string::npos);

    ::setenv("ISOSWEEP_KERNELS", "libtorch", 1);
    CHECK(report().find("libtorch") != std::string::npos);
    ::unsetenv("ISOSWEEP_KERNELS");
    ::unsetenv("XDG_CACHE_HOME");
}

TEST_CASE("NVRTC compiles every variant without a GPU") {
    std::optional<kernels::Compiler> compiler;
    try {
        compiler.emplace();
    } catch (const kernels::Unavailable& problem) {
        MESSAGE("skipped: " << problem.what());
        return;
    }
    CHECK(compiler->version().starts_with("13."));
    for (const int compute_capability : {80, 90})
        for (const bool is_bf16 : {false, true})
            for (const bool is_wide : {false, true}) {
                CAPTURE(compute_capability);
                const std::string cubin =
                    compiler->compile({.is_bf16 = is_bf16, .is_wide = is_wide}, compute_capability);
                CHECK(
                    cubin.starts_with("\x7f"
                                      "ELF"));
                CHECK(cubin.find("embedding_backward") != std::string::npos);
            }
    CHECK_THROWS_AS(static_cast<void>(compiler->compile({}, 12)), kernels::Unavailable);
}

TEST_CASE("what is cached is read as it was written, or not at all") {
    const TemporaryFolder folder;
    const std::filesystem::path file = folder.file("deep/kernels");
    CHECK_FALSE(kernels::read_cached(file));
    const std::string content = std::string("cubin\0with zeros\n", 17) + std::string(1000, 'x');
    CHECK(kernels::write_cached(file, content).empty());
    CHECK(kernels::read_cached(file) == content);

    std::ifstream in(file, std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    const auto overwrite = [&](const std::string& text) {
        std::ofstream(file, std::ios::binary) << text;
    };
    for (std::size_t size = 0; size < whole.size(); ++size) {
        overwrite(whole.substr(0, size));
        CHECK_FALSE(kernels::read_cached(file));
    }
    for (const std::size_t at : {std::size_t{0}, std::size_t{20}, whole.size() / 2}) {
        std::string damaged = whole;
        damaged[at] ^= 1;
        overwrite(damaged);
        CHECK_FALSE(kernels::read_cached(file));
    }
    overwrite(whole);
    CHECK(kernels::read_cached(file) == content);
}

TEST_CASE("a cache that cannot be written says why") {
    const TemporaryFolder folder;
    std::ofstream(folder.file("file")) << "no folder";
    const std::filesystem::path file = folder.file("file/kernels");
    CHECK(kernels::write_cached(file, "cubin").find("Not a directory") != std::string::npos);
    CHECK_FALSE(kernels::read_cached(file));
}

TEST_CASE("the cache's file has another name for another source, option or version") {
    using Parts = std::vector<std::string>;
    const std::string name = kernels::cache_name(Parts{"source", "sm_90", "13.0"});
    CHECK(name == kernels::cache_name(Parts{"source", "sm_90", "13.0"}));
    CHECK(name != kernels::cache_name(Parts{"sourcf", "sm_90", "13.0"}));
    CHECK(name != kernels::cache_name(Parts{"source", "sm_80", "13.0"}));
    CHECK(name != kernels::cache_name(Parts{"source", "sm_90", "13.1"}));
    CHECK(name != kernels::cache_name(Parts{"sources", "m_90", "13.0"}));
}

}  // namespace
}  // namespace isosweep
