#include "memory_ledger.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <unordered_set>

namespace isosweep {
namespace {

/// Asked for by nobody else.
constexpr std::int64_t marker_size = 1'237;

std::int64_t bytes_of(const std::vector<torch::Tensor>& tensors) {
    std::int64_t bytes = 0;
    for (const torch::Tensor& tensor : tensors) bytes += static_cast<std::int64_t>(tensor.nbytes());
    return bytes;
}

std::vector<std::uintptr_t> addresses_of(const std::vector<torch::Tensor>& tensors) {
    std::vector<std::uintptr_t> addresses;
    for (const torch::Tensor& tensor : tensors)
        addresses.push_back(reinterpret_cast<std::uintptr_t>(tensor.storage().data()));
    return addresses;
}

/// A block that was asked for during the log.
struct Block {
    std::int64_t bytes = 0;
    std::uintptr_t address = 0;
    std::size_t begin = 0;                                      ///< event that made it
    std::size_t end = std::numeric_limits<std::size_t>::max();  ///< event that freed it, if any
};

}  // namespace

MemoryLedger account(const std::vector<cuda::AllocationEvent>& log, const KnownMemory& known) {
    std::vector<Block> blocks;
    std::unordered_map<std::uintptr_t, std::size_t> live;
    std::int64_t held = 0;
    std::int64_t most = 0;
    std::size_t peak = 0;  // events before the moment of the peak
    std::size_t forward_end = log.size();
    for (std::size_t i = 0; i < log.size(); ++i) {
        const auto& event = log[i];
        if (!event.is_free) {
            if (event.bytes == known.marker_bytes) forward_end = std::min(forward_end, i);
            live[event.address] = blocks.size();
            blocks.push_back({.bytes = event.bytes, .address = event.address, .begin = i});
            held += event.bytes;
        } else if (const auto block = live.find(event.address); block != live.end()) {
            blocks[block->second].end = i;
            live.erase(block);
            held -= event.bytes;
        }
        if (held > most) {
            most = held;
            peak = i + 1;
        }
    }

    const std::unordered_set<std::uintptr_t> gradients(known.gradients.begin(),
                                                       known.gradients.end());
    const std::unordered_set<std::uintptr_t> outputs(known.outputs.begin(), known.outputs.end());
    MemoryLedger ledger;
    ledger.parameters = known.parameters;
    ledger.optimizer = known.optimizer;
    ledger.activations = known.inputs;
    for (const Block& block : blocks) {
        if (block.begin >= peak || block.end < peak) continue;
        const bool stays = block.end == std::numeric_limits<std::size_t>::max();
        // An address may have been used before by something else: only the last owner stays.
        const bool is_kept_for_backward =
            stays ? outputs.contains(block.address)
                  : block.begin < forward_end && block.end > forward_end;
        if (stays && gradients.contains(block.address))
            ledger.gradients += block.bytes;
        else if (is_kept_for_backward)
            ledger.activations += block.bytes;
        else
            ledger.workspace += block.bytes;
    }
    return ledger;
}

MemoryWatch::MemoryWatch(const Step& step) : step_(step) {
    // Made anew during the step, so that they are counted as its workspace.
    cuda::release_workspaces();
    known_.parameters = bytes_of(step.parameters());
    known_.optimizer = bytes_of(step.optimizer_state());
    known_.inputs = bytes_of(step.inputs());
    known_.marker_bytes = marker_size;
    cuda::reset_peak_memory();
    cuda::start_allocation_log();
}

MemoryWatch::~MemoryWatch() {
    if (!logging_) return;
    try {
        cuda::stop_allocation_log();
    } catch (const std::exception&) {
        // What ended the step is on its way to whoever reports it.
        static_cast<void>(0);
    }
}

void MemoryWatch::forward_ended() {
    static_cast<void>(at::empty({marker_size}, torch::dtype(torch::kByte).device(step_.device())));
}

MemoryLedger MemoryWatch::finish() {
    logging_ = false;
    const auto log = cuda::stop_allocation_log();
    known_.gradients = addresses_of(step_.gradients());
    known_.outputs = addresses_of(step_.outputs());
    MemoryLedger ledger = account(log, known_);
    const cuda::Memory memory = cuda::memory();
    ledger.peak_allocated = memory.peak_allocated;
    ledger.rounding = memory.peak_allocated - memory.peak_requested;
    ledger.error = memory.peak_allocated - ledger.parameters - ledger.gradients - ledger.optimizer -
                   ledger.activations - ledger.workspace - ledger.rounding;
    return ledger;
}

}  // namespace isosweep
