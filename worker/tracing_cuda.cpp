#include <c10/cuda/CUDAException.h>
#include <cuda_runtime_api.h>
#include <torch/csrc/cuda/memory_snapshot.h>

#include <cstdlib>
#include <optional>

#include "tracing.h"

// A setup for the CPU compiles this file with the headers of CUDA's runtime alone.
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define ISOSWEEP_HAS_NVTX 1
#else
#define ISOSWEEP_HAS_NVTX 0
#endif

// Of cuda_profiler_api.h, which is in no package of LibTorch's.
// NOLINTBEGIN(readability-identifier-naming): CUDA's names
extern "C" {
cudaError_t cudaProfilerStart();
cudaError_t cudaProfilerStop();
}
// NOLINTEND(readability-identifier-naming)

namespace isosweep::cuda {
namespace {

constexpr std::size_t history_entries = 100'000;

}  // namespace

bool has_ranges() { return ISOSWEEP_HAS_NVTX != 0; }

void push_range([[maybe_unused]] const char* name) {
#if ISOSWEEP_HAS_NVTX
    nvtxRangePushA(name);
#endif
}

void pop_range() {
#if ISOSWEEP_HAS_NVTX
    nvtxRangePop();
#endif
}

void start_profiler() { C10_CUDA_CHECK(cudaProfilerStart()); }
void stop_profiler() { C10_CUDA_CHECK(cudaProfilerStop()); }

void start_memory_history() {
    // By the symbols that the libraries export: reading their debug information, which release
    // builds hardly have, with addr2line would take minutes.
    ::setenv("TORCH_SYMBOLIZE_MODE", "dladdr", /*overwrite=*/0);
    // Not a bare "all", which would be the overload that takes a bool.
    torch::cuda::_record_memory_history(std::optional<std::string>("all"), "all", "all",
                                        history_entries);
}

void stop_memory_history() {
    torch::cuda::_record_memory_history(std::optional<std::string>(std::nullopt));
}

std::string memory_snapshot() { return torch::cuda::_memory_snapshot_pickled(); }

}  // namespace isosweep::cuda
