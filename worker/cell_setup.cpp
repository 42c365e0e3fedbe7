#include "cell_setup.h"

#include <ATen/Context.h>
#include <isosweep/benchmark.h>

#include <mutex>
#include <optional>

#include "device.h"

namespace isosweep {
namespace {

/// Only the device's own generator: seeding all of them, as torch::manual_seed does, would start
/// CUDA for a cell on the CPU.
void seed(torch::Device device, std::int64_t value) {
    at::Generator generator = at::globalContext().defaultGenerator(device);
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(static_cast<std::uint64_t>(value));
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
    seed(device, cell.seed);
    Transformer model = create_model(
        model_config(cell), cell.context_length, device,
        {.kernels = cell.kernels, .activation_checkpointing = cell.activation_checkpointing});
    torch::Tensor ids =
        generate_random_batch(cell.batch_size, cell.context_length, cell.vocab_size, device);
    return {std::move(model), std::move(ids)};
}

}  // namespace isosweep
