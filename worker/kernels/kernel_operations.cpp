#include "kernel_operations.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace isosweep::kernels {
namespace {

using operations::CrossEntropy;
using operations::Normed;
using operations::NormGradients;
using operations::SwiGluGradients;
using torch::Tensor;

constexpr std::int64_t access_bytes = 16;
constexpr std::int64_t warp = 32;

bool is_number(c10::ScalarType type) { return type == torch::kFloat || type == torch::kBFloat16; }
bool is_bf16(const Tensor& x) { return x.scalar_type() == torch::kBFloat16; }

/// Numbers of this type in one access.
std::int64_t access(const Tensor& x) { return access_bytes / x.element_size(); }

/// Whether every one of `tensors`, where defined, begins at a multiple of an access.
bool are_aligned(std::initializer_list<Tensor> tensors) {
    return std::all_of(tensors.begin(), tensors.end(), [](const Tensor& x) {
        return !x.defined() ||
               reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % access_bytes == 0;
    });
}

bool fits_int(std::int64_t value) { return value <= std::numeric_limits<int>::max(); }

std::int64_t ceil_divide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// The threads of a block that has `work` things to do, in as few rounds as `most` threads take.
int threads_for(std::int64_t work, std::int64_t most) {
    const std::int64_t rounds = std::max<std::int64_t>(ceil_divide(work, most), 1);
    return static_cast<int>(std::max(warp, ceil_divide(ceil_divide(work, rounds), warp) * warp));
}

/// Launches with arguments of the very types of the kernel's, as an operation that profilers know
/// by the kernel's name.
template <typename... Arguments>
void launch(Launcher& launcher, const Launch& what, Arguments... arguments) {
    RECORD_FUNCTION(what.kernel, c10::ArrayRef<const c10::IValue>());
    std::array<void*, sizeof...(arguments)> pointers{static_cast<void*>(&arguments)...};
    launcher.launch(what, pointers.data());
}

/// Undefined: null.
const void* in(const Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }
void* out(const Tensor& x) { return x.defined() ? x.mutable_data_ptr() : nullptr; }

Tensor empty_fp32(at::IntArrayRef sizes, const Tensor& like) {
    return at::empty(sizes, like.options().dtype(torch::kFloat));
}

// Of rms_norm.cu: what a block can keep of a row.
constexpr std::int64_t kept = 16;
constexpr std::int64_t max_norm_threads = 512;

bool fits_norm(const Tensor& x) { return x.numel() > 0 && x.size(1) <= kept * max_norm_threads; }

int norm_threads(std::int64_t width) {
    return threads_for(ceil_divide(width, kept), max_norm_threads);
}

/// As rotary.cu has it.
struct StridedHeads {
    const void* data;
    long long batch_stride;
    long long head_stride;
    long long token_stride;
};

StridedHeads strided(const Tensor& heads) {
    return {heads.const_data_ptr(), heads.stride(0), heads.stride(1), heads.stride(2)};
}

bool are_aligned(const StridedHeads& heads, std::int64_t numbers) {
    return heads.batch_stride % numbers == 0 && heads.head_stride % numbers == 0 &&
           heads.token_stride % numbers == 0;
}

/// Blocks of [rows, parts of a row] with a thread for each access.
Launch over_rows(const char* kernel, Variant variant, std::int64_t rows, std::int64_t width,
                 std::int64_t numbers) {
    const std::int64_t accesses = ceil_divide(width, numbers);
    const int threads = threads_for(accesses, 256);
    return {.variant = variant,
            .kernel = kernel,
            .threads = threads,
            .blocks = rows,
            .blocks_y = ceil_divide(accesses, threads)};
}

}  // namespace

std::optional<Normed> rms_norm(Launcher& launcher, const Tensor& x, const Tensor& addend,
                               const Tensor& weight, double epsilon, c10::ScalarType type) {
    if (!is_number(type) || !fits_norm(x)) return std::nullopt;
    if (addend.defined() && !is_number(addend.scalar_type())) return std::nullopt;
    const std::int64_t rows = x.size(0);
    const std::int64_t width = x.size(1);
    const Tensor from = x.contiguous();
    Tensor added = addend.defined() ? addend.contiguous() : addend;
    // Kernels for fp32 alone know no bf16.
    if (added.defined() && type == torch::kFloat) added = added.to(torch::kFloat);
    const Tensor weights = weight.contiguous();
    const Variant variant{.is_bf16 = type == torch::kBFloat16,
                          .is_wide = width % 4 == 0 && are_aligned({from, added, weights})};
    if (!launcher.has(variant)) return std::nullopt;

    Normed result{.sum = added.defined() ? at::empty_like(from) : from,
                  .normed = at::empty({rows, width}, x.options().dtype(type)),
                  .scale = empty_fp32({rows}, x)};
    Launch what{
        .variant = variant, .kernel = "rms_norm", .threads = norm_threads(width), .blocks = rows};
    if (added.defined()) {
        what.kernel =
            is_bf16(added) || !variant.is_bf16 ? "rms_norm_of_sum" : "rms_norm_of_fp32_sum";
        launch(launcher, what, in(from), in(added), in(weights), static_cast<float>(epsilon),
               out(result.sum), out(result.normed), out(result.scale), static_cast<int>(width));
    } else {
        launch(launcher, what, in(from), in(weights), static_cast<float>(epsilon),
               out(result.normed), out(result.scale), static_cast<int>(width));
    }
    return result;
}

std::optional<NormGradients> rms_norm_backward(Launcher& launcher, const Tensor& of_normed,
                                               const Tensor& of_sum_later, const Tensor& sum,
                                               const Tensor& scale, const Tensor& weight,
                                               c10::ScalarType addend_type) {
    if (!is_number(of_normed.scalar_type()) || !is_number(addend_type) || !fits_norm(sum))
        return std::nullopt;
    const std::int64_t rows = sum.size(0);
    const std::int64_t width = sum.size(1);
    const Tensor gradient = of_normed.contiguous();
    const Tensor later = of_sum_later.defined() ? of_sum_later.contiguous() : of_sum_later;
    const Tensor weights = weight.contiguous();
    const Variant variant{
        .is_bf16 = is_bf16(gradient),
        .is_wide = width % 4 == 0 && are_aligned({gradient, later, sum, weights})};
    if (!launcher.has(variant)) return std::nullopt;

    const int threads = norm_threads(width);
    // Few, since each writes what it adds up; enough to keep memory busy; no more than it takes for
    // as many rows each.
    const std::int64_t most =
        launcher.multiprocessors() * std::clamp<std::int64_t>(512 / threads, 2, 8);
    const std::int64_t blocks = ceil_divide(rows, ceil_divide(rows, most));
    NormGradients result{
        .of_sum = at::empty_like(sum), .of_addend = {}, .of_weight = empty_fp32({width}, sum)};
    if (addend_type == torch::kBFloat16)
        result.of_addend = at::empty({rows, width}, sum.options().dtype(addend_type));
    const Tensor of_weights = empty_fp32({blocks, width}, sum);
    launch(
        launcher,
        {.variant = variant, .kernel = "rms_norm_backward", .threads = threads, .blocks = blocks},
        in(gradient), in(later), in(sum), in(scale), in(weights), out(result.of_sum),
        out(result.of_addend), out(of_weights), static_cast<long long>(rows),
        static_cast<int>(width));
    launch(launcher,
           {.variant = variant,
            .kernel = "sum_rows",
            .threads =
                static_cast<int>(std::min<std::int64_t>(ceil_divide(8 * blocks, warp) * warp, 512)),
            .blocks = ceil_divide(width, 8)},
           in(of_weights), out(result.of_weight), static_cast<int>(blocks),
           static_cast<int>(width));
    if (!result.of_addend.defined()) result.of_addend = result.of_sum;
    return result;
}

bool rotate(Launcher& launcher, const Tensor& heads, const Tensor& rotation) {
    if (!is_number(heads.scalar_type()) || heads.numel() == 0 || !heads.is_contiguous())
        return false;
    const std::int64_t sequence = heads.size(1);
    const std::int64_t head_size = heads.size(4);
    const std::int64_t width = heads.size(3) * head_size;
    const Tensor angles = rotation.contiguous();
    const Variant variant{
        .is_bf16 = is_bf16(heads),
        .is_wide = head_size % access(heads) == 0 && are_aligned({heads, angles})};
    if (!launcher.has(variant)) return false;
    const std::int64_t numbers = variant.is_wide ? access(heads) : 2;
    launch(launcher,
           {.variant = variant,
            .kernel = "rotate",
            .threads = threads_for(2 * width / numbers, 256),
            .blocks = heads.size(0) * sequence},
           out(heads), in(angles), static_cast<int>(sequence), static_cast<int>(width),
           static_cast<int>(head_size));
    return true;
}

std::optional<Tensor> rotate_backward(Launcher& launcher, const Tensor& of_queries,
                                      const Tensor& of_keys, const Tensor& of_values,
                                      const Tensor& rotation) {
    if (!is_number(of_queries.scalar_type()) || of_queries.numel() == 0) return std::nullopt;
    const std::int64_t batch = of_queries.size(0);
    const std::int64_t num_heads = of_queries.size(1);
    const std::int64_t sequence = of_queries.size(2);
    const std::int64_t head_size = of_queries.size(3);
    const std::int64_t width = num_heads * head_size;
    const Tensor angles = rotation.contiguous();
    const StridedHeads queries = strided(of_queries);
    const StridedHeads keys = strided(of_keys);
    const StridedHeads values = strided(of_values);
    const std::int64_t numbers = access(of_queries);
    const Variant variant{.is_bf16 = is_bf16(of_queries),
                          .is_wide = head_size % numbers == 0 && are_aligned(queries, numbers) &&
                                     are_aligned(keys, numbers) && are_aligned(values, numbers) &&
                                     are_aligned({of_queries, of_keys, of_values, angles})};
    // Pairs are the least that is read at once.
    if (!variant.is_wide &&
        (!are_aligned(queries, 2) || !are_aligned(keys, 2) || !are_aligned(values, 2)))
        return std::nullopt;
    if (!launcher.has(variant)) return std::nullopt;
    Tensor of_heads = at::empty({batch, sequence, 3, num_heads, head_size}, of_queries.options());
    launch(launcher,
           {.variant = variant,
            .kernel = "rotate_backward",
            .threads = threads_for(3 * width / (variant.is_wide ? numbers : 2), 256),
            .blocks = batch * sequence},
           queries, keys, values, in(angles), out(of_heads), static_cast<int>(sequence),
           static_cast<int>(width), static_cast<int>(head_size));
    return of_heads;
}

std::optional<Tensor> swiglu(Launcher& launcher, const Tensor& gate_up) {
    if (!is_number(gate_up.scalar_type()) || gate_up.numel() == 0) return std::nullopt;
    const std::int64_t rows = gate_up.size(0);
    const std::int64_t width = gate_up.size(1) / 2;
    const Tensor from = gate_up.contiguous();
    const Variant variant{.is_bf16 = is_bf16(from),
                          .is_wide = width % access(from) == 0 && are_aligned({from})};
    if (!launcher.has(variant)) return std::nullopt;
    Tensor product = at::empty({rows, width}, from.options());
    launch(launcher, over_rows("swiglu", variant, rows, width, variant.is_wide ? access(from) : 1),
           in(from), out(product), static_cast<int>(width));
    return product;
}

std::optional<SwiGluGradients> swiglu_backward(Launcher& launcher, const Tensor& of_product,
                                               const Tensor& gate_up) {
    if (!is_number(gate_up.scalar_type()) || of_product.scalar_type() != gate_up.scalar_type() ||
        gate_up.numel() == 0)
        return std::nullopt;
    const std::int64_t rows = gate_up.size(0);
    const std::int64_t width = gate_up.size(1) / 2;
    const Tensor gradient = of_product.contiguous();
    const Tensor from = gate_up.contiguous();
    const Variant variant{.is_bf16 = is_bf16(from),
                          .is_wide = width % access(from) == 0 && are_aligned({gradient, from})};
    if (!launcher.has(variant)) return std::nullopt;
    SwiGluGradients result{.of_gate_up = at::empty_like(from),
                           .product = at::empty({rows, width}, from.options())};
    launch(launcher,
           over_rows("swiglu_backward", variant, rows, width, variant.is_wide ? access(from) : 1),
           in(gradient), in(from), out(result.of_gate_up), out(result.product),
           static_cast<int>(width));
    return result;
}

std::optional<Tensor> cast(Launcher& launcher, const Tensor& block, c10::ScalarType type) {
    if (type != torch::kBFloat16 || block.scalar_type() != torch::kFloat || block.numel() == 0)
        return std::nullopt;
    const Tensor from = block.contiguous();
    const Variant variant{.is_bf16 = true, .is_wide = are_aligned({from})};
    if (!launcher.has(variant)) return std::nullopt;
    Tensor to = at::empty_like(from, from.options().dtype(type));
    constexpr int threads = 256;
    constexpr std::int64_t accesses = 4;  // by each thread
    launch(launcher,
           {.variant = variant,
            .kernel = "cast",
            .threads = threads,
            .blocks = ceil_divide(from.numel(), threads * accesses * (variant.is_wide ? 8 : 1))},
           in(from), out(to), static_cast<long long>(from.numel()));
    return to;
}

std::optional<CrossEntropy> cross_entropy(Launcher& launcher, const Tensor& logits,
                                          const Tensor& targets) {
    if (!is_number(logits.scalar_type()) || logits.numel() == 0 || !fits_int(logits.size(1)))
        return std::nullopt;
    const std::int64_t rows = logits.size(0);
    const std::int64_t width = logits.size(1);
    const Tensor from = logits.contiguous();
    const Variant variant{.is_bf16 = is_bf16(from),
                          .is_wide = width % access(from) == 0 && are_aligned({from})};
    if (!launcher.has(variant)) return std::nullopt;
    CrossEntropy result{.loss = empty_fp32({}, logits), .log_sums = empty_fp32({rows}, logits)};
    const Tensor losses = empty_fp32({rows}, logits);
    launch(
        launcher,
        {.variant = variant,
         .kernel = "cross_entropy",
         // No more: what a row's threads tell each other takes as long as what they read.
         .threads = threads_for(ceil_divide(width, 2 * (variant.is_wide ? access(from) : 1)), 128),
         .blocks = rows},
        in(from), in(targets.contiguous()), out(losses), out(result.log_sums),
        static_cast<int>(width));
    launch(launcher,
           {.variant = variant, .kernel = "mean", .threads = threads_for(rows, 1024), .blocks = 1},
           in(losses), out(result.loss), static_cast<long long>(rows));
    return result;
}

std::optional<Tensor> cross_entropy_backward(Launcher& launcher, const Tensor& of_loss,
                                             const Tensor& logits, const Tensor& targets,
                                             const Tensor& log_sums) {
    if (!is_number(logits.scalar_type()) || logits.numel() == 0 || !fits_int(logits.size(1)))
        return std::nullopt;
    const std::int64_t rows = logits.size(0);
    const std::int64_t width = logits.size(1);
    const Tensor from = logits.contiguous();
    const Variant variant{.is_bf16 = is_bf16(from),
                          .is_wide = width % access(from) == 0 && are_aligned({from})};
    if (!launcher.has(variant)) return std::nullopt;
    Tensor of_logits = at::empty_like(from);
    launch(launcher,
           over_rows("cross_entropy_backward", variant, rows, width,
                     variant.is_wide ? access(from) : 1),
           in(of_loss), in(from), in(targets.contiguous()), in(log_sums), out(of_logits),
           static_cast<long long>(rows), static_cast<int>(width));
    return of_logits;
}

std::optional<Tensor> embedding_backward(Launcher& launcher, const Tensor& of_x, const Tensor& ids,
                                         std::int64_t vocabulary) {
    if (of_x.scalar_type() != torch::kFloat || of_x.numel() == 0 || !fits_int(of_x.size(0)))
        return std::nullopt;
    const std::int64_t rows = of_x.size(0);
    const std::int64_t width = of_x.size(1);
    const Tensor from = of_x.contiguous();
    Variant variant{.is_bf16 = false, .is_wide = width % 4 == 0 && are_aligned({from})};
    // All is fp32, so both variants do: the one that the rest of the step has loaded.
    if (!launcher.is_loaded(variant)) variant.is_bf16 = true;
    if (!launcher.has(variant)) return std::nullopt;
    Tensor of_weight = empty_fp32({vocabulary, width}, of_x);
    constexpr int owned_rows = 8;
    launch(launcher,
           {.variant = variant,
            .kernel = "embedding_backward",
            .threads = 512,
            .blocks = ceil_divide(vocabulary, owned_rows)},
           in(from), in(ids.contiguous()), out(of_weight), static_cast<int>(rows),
           static_cast<long long>(vocabulary), static_cast<int>(width));
    return of_weight;
}

}  // namespace isosweep::kernels
