#include "cell_setup.h"

#include <ATen/Context.h>
#include <isosweep/benchmark.h>

#include <exception>
#include <iostream>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "device.h"
#include "fused.h"
#include "precision.h"
#include "weights.h"

namespace isosweep {
namespace {

/// Only the device's own generator: seeding all of them, as torch::manual_seed does, would start
/// CUDA for a cell on the CPU.
void seed(torch::Device device, std::int64_t value) {
    at::Generator generator = at::globalContext().defaultGenerator(device);
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(static_cast<std::uint64_t>(value));
}

/// The type and the place of what products are made of with `kernels = fused`.
at::TensorOptions numbers_of(const Cell& cell, torch::Device device) {
    return at::TensorOptions(device).dtype(product_type(cell.precision));
}

/// Loads what the cell's products will want, layer by layer as `kernels = fused` merges them.
void load_products(const Cell& cell, torch::Device device) {
    const ModelConfig config = model_config(cell);
    const auto load = [&](const MatrixSize& weight) {
        fused::load_product(cell.batch_size * cell.context_length, weight.rows, weight.columns,
                            numbers_of(cell, device), cell.pass_type != PassType::forward);
    };
    for (const MatrixSize& weight : merged_sizes(config)) load(weight);
    load({config.vocab_size, config.d_model});
}

/// Loads, and for cuDNN compiles, what the cell's attention will want on this thread and on
/// autograd's, each of which keeps its own.
void load_attention(const Cell& cell, torch::Device device) {
    const ModelConfig config = model_config(cell);
    fused::load_attention({cell.batch_size, cell.context_length, 3, config.num_heads,
                           config.d_model / config.num_heads},
                          numbers_of(cell, device), cell.pass_type != PassType::forward);
}

/// What goes wrong in `load` is left to the step, which says what and where if it goes wrong again.
void try_to(void (*load)(const Cell&, torch::Device), const Cell& cell, torch::Device device) {
    try {
        load(cell, device);
    } catch (const std::exception& problem) {
        std::cerr << "isosweep-worker: not loaded ahead: " << one_line(problem.what()) << "\n";
    }
}

}  // namespace

std::string unsupported_reason(const Cell& cell) {
    if (!cell.custom.empty()) return "unknown axis " + cell.custom.begin()->first;
    if (auto reason = invalid_reason(model_config(cell)); !reason.empty()) return reason;
    if (cell.activation_checkpointing && cell.pass_type == PassType::forward)
        return "activation_checkpointing needs a backward pass; pass_type = forward keeps nothing";
    return {};
}

torch::Device device_of(const Cell& cell) {
    const bool cuda = cell.device != Device::cpu && cuda::is_usable();
    if (cell.device == Device::cuda && !cuda) throw std::runtime_error("no CUDA device");
    if (cuda) return torch::kCUDA;
    if (cell.precision == Precision::tf32)
        throw Unsupported("precision = tf32 needs a CUDA device");
    if (cell.gpu_memory_limit.bytes != 0) throw Unsupported("gpu_memory_limit needs a CUDA device");
    if (cell.cuda_graph) throw Unsupported("cuda_graph needs a CUDA device");
    return torch::kCPU;
}

void enter_device(const Cell& cell, torch::Device device) {
    if (!device.is_cuda()) return;
    cuda::initialize();
    cuda::release_cache();
    const std::int64_t limit = cell.gpu_memory_limit.bytes;
    cuda::limit_memory(limit == 0 ? std::nullopt : std::optional(limit));
}

CellSetup build_cell(const Cell& cell, torch::Device device) {
    // Loading takes most of the time until a graph can be captured. The products' is done on a
    // thread of its own while this one builds the model and then loads attention.
    const bool loads_ahead = cell.cuda_graph && cell.kernels == Kernels::fused && device.is_cuda();
    const MatmulPrecision matmul_precision(cell.precision);
    std::jthread products;  // joined at the end
    if (loads_ahead) products = std::jthread([&] { try_to(load_products, cell, device); });
    seed(device, cell.seed);
    Transformer model = create_model(
        model_config(cell), cell.context_length, device,
        {.kernels = cell.kernels, .activation_checkpointing = cell.activation_checkpointing});
    torch::Tensor ids =
        generate_random_batch(cell.batch_size, cell.context_length, cell.vocab_size, device);
    if (loads_ahead) try_to(load_attention, cell, device);
    return {std::move(model), std::move(ids)};
}

}  // namespace isosweep
