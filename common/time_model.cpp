#include <isosweep/flops.h>
#include <isosweep/gpu_peak.h>
#include <isosweep/time_model.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace isosweep {
namespace {

/// Rates of a device.
struct DeviceRates {
    double tflops = 0;         ///< of matrix products, by datasheet
    double gb_per_s = 0;       ///< of its memory, by datasheet
    double fp32_tflops = 0;    ///< of the lanes outside of tensor cores
    bool has_launches = true;  ///< whether starting a kernel takes time of its own
};

/// How a pass through the model uses a device: found by least squares over the phases of 109 cells
/// on an H200 (results/reference but full_bf16), of the relative error; fused bf16 by hand, from
/// the bytes that its kernels move and the rates of fused_kernels.csv.
struct PassCosts {
    double linear_share;     ///< of the peak, in products with weights
    double attention_share;  ///< in those of attention, over all of T^2
    double score_bytes;      ///< moved for each element of the attention matrices
    double stream_bytes;     ///< of the residual stream, per layer
    double inner_bytes;      ///< between the feed-forward layer's products
    double weight_bytes;     ///< for each weight
    double launches;         ///< kernels in a layer
    double launch_us;        ///< of the host for each
};

struct StepCosts {
    PassCosts forward;
    PassCosts backward;
    double launch_us_without_gradients;
};

// tf32 and fused fp32 were not measured: their products are those of bf16 and of fp32, their
// traffic that of fp32.
constexpr StepCosts reference_fp32 = {
    {0.78, 0.78, 96, 260, 40, 4, 48, 13}, {0.69, 0.69, 106, 288, 44, 4, 110, 13}, 9};
constexpr StepCosts reference_tf32 = {
    {0.75, 0.75, 96, 260, 40, 4, 48, 13}, {0.75, 0.75, 106, 288, 44, 4, 110, 13}, 9};
constexpr StepCosts reference_bf16 = {
    {0.75, 0.75, 70, 208, 16, 8, 64, 13}, {0.75, 0.75, 136, 403, 31, 8, 150, 13}, 9};
constexpr StepCosts fused_fp32 = {
    {0.78, 0.30, 0, 52, 17, 4, 12, 20}, {0.69, 0.20, 0, 96, 31, 4, 26, 18}, 13};
constexpr StepCosts fused_tf32 = {
    {0.75, 0.13, 0, 52, 17, 4, 12, 20}, {0.75, 0.11, 0, 96, 31, 4, 26, 18}, 13};
constexpr StepCosts fused_bf16 = {
    {0.80, 0.28, 0, 26, 5, 8, 9, 20}, {0.82, 0.21, 0, 36, 10, 8, 17, 20}, 16};

const StepCosts& costs_of(const Cell& cell) {
    const bool fused = cell.kernels == Kernels::fused;
    switch (cell.precision) {
        case Precision::fp32:
            return fused ? fused_fp32 : reference_fp32;
        case Precision::tf32:
            return fused ? fused_tf32 : reference_tf32;
        case Precision::bf16:
            break;
    }
    return fused ? fused_bf16 : reference_bf16;
}

/// What AdamW and all other kernels reach of the memory's datasheet rate.
constexpr double bandwidth_share = 0.72;
/// From a kernel's end to the next one's begin, with what a short kernel takes at least.
constexpr double kernel_gap_us = 2.7;
/// One step through the sum of an fp32 product on an H200's lanes (67 TFLOP/s): what a product
/// takes at least, however few tiles it has.
constexpr double fp32_sum_step_ns = 6;
constexpr double fp32_reference_tflops = 67;
/// AdamW reads parameter, gradient and two moments, and writes all but the gradient.
constexpr double adamw_bytes = 28;

enum class Direction { forward, backward };

struct PassTime {
    double gpu_ms = 0;
    double host_ms = 0;
};

/// Lengths of the sums of a pass' products, one behind the other.
double sum_steps(const Cell& cell, Direction direction) {
    const auto width = static_cast<double>(cell.d_model);
    const auto inner = static_cast<double>(cell.d_ff);
    const auto layers = static_cast<double>(cell.num_layers);
    if (direction == Direction::forward) return layers * (6 * width + inner) + width;
    const double tokens =
        static_cast<double>(cell.batch_size) * static_cast<double>(cell.context_length);
    return layers * (5 * width + 2 * inner + 7 * tokens) + static_cast<double>(cell.vocab_size) +
           tokens;
}

PassTime pass_time(const Cell& cell, const DeviceRates& rates, const PassCosts& costs,
                   Direction direction) {
    const ForwardFlops flops =
        forward_flops(model_config(cell), cell.batch_size, cell.context_length);
    const auto layers = static_cast<double>(cell.num_layers);
    const double tokens =
        static_cast<double>(cell.batch_size) * static_cast<double>(cell.context_length);
    const double scores =
        tokens * static_cast<double>(cell.num_heads) * static_cast<double>(cell.context_length);
    const double bytes =
        layers * (costs.score_bytes * scores +
                  costs.stream_bytes * tokens * static_cast<double>(cell.d_model) +
                  costs.inner_bytes * tokens * static_cast<double>(cell.d_ff)) +
        costs.weight_bytes * static_cast<double>(matmul_params(model_config(cell)));
    const double products =
        (flops.linear / costs.linear_share + flops.attention / costs.attention_share) *
        (direction == Direction::backward ? 2 : 1);
    PassTime time;
    time.gpu_ms =
        products / rates.tflops * 1e-9 + bytes / (bandwidth_share * rates.gb_per_s) * 1e-6;
    if (!rates.has_launches) return time;
    time.gpu_ms += layers * costs.launches * kernel_gap_us * 1e-3;
    if (cell.precision == Precision::fp32)
        time.gpu_ms += sum_steps(cell, direction) * fp32_sum_step_ns *
                       (fp32_reference_tflops / rates.fp32_tflops) * 1e-6;
    time.host_ms = layers * costs.launches * costs.launch_us * 1e-3;
    return time;
}

double step_ms(const Cell& cell, const DeviceRates& rates) {
    const StepCosts& costs = costs_of(cell);
    PassCosts forward = costs.forward;
    if (cell.pass_type == PassType::forward) forward.launch_us = costs.launch_us_without_gradients;
    std::vector<PassTime> passes = {pass_time(cell, rates, forward, Direction::forward)};
    if (cell.pass_type != PassType::forward) {
        passes.push_back(pass_time(cell, rates, costs.backward, Direction::backward));
        if (cell.activation_checkpointing) passes.push_back(passes.front());
    }
    PassTime step;
    for (const PassTime& pass : passes) {
        step.gpu_ms += pass.gpu_ms;
        step.host_ms += pass.host_ms;
    }
    // AdamW is one short call: it comes on top, whoever was waited for before.
    const double optimizer_ms = cell.pass_type == PassType::train_step
                                    ? adamw_bytes *
                                          static_cast<double>(num_params(model_config(cell))) /
                                          (bandwidth_share * rates.gb_per_s) * 1e-6
                                    : 0;
    // Who is slower makes the other one wait; a graph needs no host.
    return (cell.cuda_graph ? step.gpu_ms : std::max(step.gpu_ms, step.host_ms)) + optimizer_ms;
}

/// Steps of one kind, `automatic` of them where the rule decides.
double count(const StepCount& steps, double automatic) {
    return steps.is_automatic() ? automatic : static_cast<double>(steps.steps);
}

/// At least `least` steps, and as many as fill `ms`, but no more than `most`.
double filling(double ms, double step_ms, double least, double most) {
    return std::clamp(std::ceil(ms / step_ms), least, most);
}

}  // namespace

std::optional<double> predict_step_ms(const Cell& cell, std::string_view gpu_name) {
    const auto tflops = datasheet_tflops(gpu_name, cell.precision);
    const auto fp32 = datasheet_tflops(gpu_name, Precision::fp32);
    const auto bandwidth = datasheet_gb_per_s(gpu_name);
    if (!tflops || !bandwidth || cell.device == Device::cpu) return std::nullopt;
    return step_ms(cell, {*tflops, *bandwidth, fp32.value_or(fp32_reference_tflops), true});
}

double comparable_step_ms(const Cell& cell) { return step_ms(cell, {1, 100, 1, false}); }

double predict_overhead_ms(const Cell& cell) {
    double ms = 950;
    if (cell.pass_type != PassType::forward) ms += 100;
    if (cell.pass_type == PassType::train_step) ms += 100;
    // A graph takes its capture. One of fused kernels takes less than the first step that it
    // replaces: what that step loads bit by bit is loaded side by side.
    if (cell.cuda_graph) ms += cell.kernels == Kernels::fused ? -120 : 120;
    return ms;
}

double steps_of(const Cell& cell, double step_ms) {
    double steps = count(cell.warmup_steps, filling(500, step_ms, 5, 50)) +
                   count(cell.measure_steps, filling(2'000, step_ms, 10, 200));
    if (cell.passes.energy)
        steps += filling(2'500, step_ms, 5, 1e5);
    else if (cell.passes.pipelined)
        steps += filling(500, step_ms, 5, 1e5);
    // The ledger takes a step of its own where no second one warms up.
    const bool has_second = cell.warmup_steps.is_automatic() || cell.warmup_steps.steps >= 2;
    if (cell.passes.memory && !has_second && !cell.cuda_graph) steps += 1;
    return steps;
}

}  // namespace isosweep
