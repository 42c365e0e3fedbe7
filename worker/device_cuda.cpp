#include <ATen/Context.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "device.h"

// Declared in ATen/cuda/CUDAContextLight.h, which also wants the headers of cuBLAS, cuSPARSE and
// cuSOLVER; a setup for the CPU compiles this file without having those.
namespace at::cuda {
void clearCublasWorkspaces();  // NOLINT(readability-identifier-naming): ATen's name
}

namespace isosweep::cuda {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

constexpr std::size_t aggregate = 0;  // of the allocator's statistics by pool

std::optional<std::int64_t> memory_limit;

std::mutex out_of_memory_mutex;  // backward allocates on a thread of its own
std::optional<OutOfMemory> last_out_of_memory;

Memory memory_given(std::size_t free, std::size_t total) {
    const auto stats = allocator::getDeviceStats(c10::cuda::current_device());
    Memory memory{.capacity = static_cast<std::int64_t>(total),
                  .free = static_cast<std::int64_t>(free),
                  .allocated = stats.allocated_bytes[aggregate].current,
                  .reserved = stats.reserved_bytes[aggregate].current,
                  .peak_allocated = stats.allocated_bytes[aggregate].peak,
                  .peak_reserved = stats.reserved_bytes[aggregate].peak,
                  .requested = stats.requested_bytes[aggregate].current,
                  .peak_requested = stats.requested_bytes[aggregate].peak,
                  .used = static_cast<std::int64_t>(total - free),
                  .limit = memory_limit};
    if (memory_limit)
        memory.free = std::clamp(*memory_limit - memory.reserved, std::int64_t{0}, memory.free);
    return memory;
}

std::pair<std::size_t, std::size_t> free_and_total() {
    std::size_t free = 0;
    std::size_t total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return {free, total};
}

/// Called by the allocator when it gives up, without its lock: the figures are those of that
/// moment, before anything is unwound.
void on_out_of_memory(std::int64_t, std::size_t requested, std::size_t, std::size_t free) {
    std::size_t device_free = 0;
    std::size_t device_total = 0;
    if (cudaMemGetInfo(&device_free, &device_total) != cudaSuccess) device_free = free;
    const std::lock_guard lock(out_of_memory_mutex);
    last_out_of_memory = OutOfMemory{.requested = static_cast<std::int64_t>(requested),
                                     .memory = memory_given(device_free, device_total)};
}

/// "GPU-1b2c3d4e-....", as NVML writes it.
std::string uuid_text(const cudaUUID_t& uuid) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text = "GPU-";
    for (std::size_t i = 0; i < sizeof uuid.bytes; ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        const auto byte = static_cast<unsigned char>(uuid.bytes[i]);
        text += digits[byte >> 4U];
        text += digits[byte & 15U];
    }
    return text;
}

bool is_capturing() {
    return c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None;
}

}  // namespace

bool is_built_in() { return true; }

bool is_usable() { return c10::cuda::device_count() > 0; }

void initialize() {
    static const bool once = [] {
        at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
        allocator::attachOutOfMemoryObserver(on_out_of_memory);
        return true;
    }();
    static_cast<void>(once);
    C10_CUDA_CHECK(cudaFree(nullptr));  // creates the context where there is none
}

Properties properties() {
    const auto device = c10::cuda::current_device();
    cudaDeviceProp found;
    C10_CUDA_CHECK(cudaGetDeviceProperties(&found, device));
    int clock_khz = 0;
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, device));
    int version = 0;
    C10_CUDA_CHECK(cudaRuntimeGetVersion(&version));
    return {.name = found.name,
            .uuid = uuid_text(found.uuid),
            .compute_capability = std::to_string(found.major) + "." + std::to_string(found.minor),
            .sm_count = found.multiProcessorCount,
            .sm_clock_max_mhz = clock_khz / 1e3,
            .runtime = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10)};
}

void synchronize() { c10::cuda::device_synchronize(); }

int pending_error() noexcept { return cudaDeviceSynchronize(); }

Memory memory() {
    const auto [free, total] = free_and_total();
    return memory_given(free, total);
}

AllocatorCounts allocator_counts() {
    const auto stats = allocator::getDeviceStats(c10::cuda::current_device());
    return {.device_allocations = stats.num_device_alloc, .retries = stats.num_alloc_retries};
}

void release_workspaces() { at::cuda::clearCublasWorkspaces(); }

void start_allocation_log() {
    constexpr std::size_t max_entries = 1'000'000;
    allocator::recordHistory(true, nullptr, max_entries, allocator::RecordContext::NEVER,
                             /*clearHistory=*/true, /*skip_actions=*/{});
}

std::vector<AllocationEvent> stop_allocation_log() {
    using Entry = allocator::TraceEntry;
    const auto snapshot = allocator::snapshot();
    allocator::recordHistory(false, nullptr, 0, allocator::RecordContext::NEVER,
                             /*clearHistory=*/true, /*skip_actions=*/{});
    std::vector<AllocationEvent> events;
    for (const Entry& entry :
         snapshot.device_traces.at(static_cast<std::size_t>(c10::cuda::current_device())))
        if (entry.action_ == Entry::ALLOC || entry.action_ == Entry::FREE_COMPLETED)
            events.push_back({.is_free = entry.action_ == Entry::FREE_COMPLETED,
                              .address = entry.addr_,
                              .bytes = static_cast<std::int64_t>(entry.size_)});
    return events;
}

void reset_peak_memory() { allocator::resetPeakStats(c10::cuda::current_device()); }

void limit_memory(std::optional<std::int64_t> bytes) {
    if (!bytes && !memory_limit) return;
    const auto total = static_cast<double>(free_and_total().second);
    // The allocator multiplies again and cuts; half a byte more keeps the last one.
    const double fraction =
        bytes ? std::min((static_cast<double>(*bytes) + 0.5) / total, 1.0) : 1.0;
    allocator::setMemoryFraction(fraction, c10::cuda::current_device());
    memory_limit = bytes;
}

void release_cache() {
    release_workspaces();  // they are kept by stream, and count as allocated
    allocator::emptyCache();
}

std::optional<OutOfMemory> take_out_of_memory() {
    const std::lock_guard lock(out_of_memory_mutex);
    return std::exchange(last_out_of_memory, std::nullopt);
}

Event::Event() {
    cudaEvent_t event = nullptr;
    C10_CUDA_CHECK(cudaEventCreate(&event));
    event_ = event;
}

Event::~Event() {
    // After a fault of the GPU this fails as everything does; the fault itself is reported.
    if (event_) static_cast<void>(cudaEventDestroy(static_cast<cudaEvent_t>(event_)));
}

Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

void Event::record() {
    C10_CUDA_CHECK(cudaEventRecordWithFlags(
        static_cast<cudaEvent_t>(event_), c10::cuda::getCurrentCUDAStream().stream(),
        is_capturing() ? cudaEventRecordExternal : cudaEventRecordDefault));
}

double Event::ms_until(const Event& later) const {
    float milliseconds = 0;
    C10_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(event_),
                                        static_cast<cudaEvent_t>(later.event_)));
    return milliseconds;
}

struct Graph::State {
    at::cuda::CUDAGraph graph;
};

Graph::Graph() : state_(std::make_unique<State>()) {}
Graph::~Graph() = default;

void Graph::capture(const std::function<void()>& work) {
    synchronize();
    // The default stream cannot be captured.
    const c10::cuda::CUDAStreamGuard other_stream(c10::cuda::getStreamFromPool());
    state_->graph.capture_begin();
    try {
        work();
    } catch (...) {
        // The capture has to end for anything else to work; what comes of it is of no interest.
        try {
            state_->graph.capture_end();
        } catch (const c10::Error&) {
            static_cast<void>(cudaGetLastError());
        }
        throw;
    }
    state_->graph.capture_end();
}

void Graph::replay() { state_->graph.replay(); }

}  // namespace isosweep::cuda
