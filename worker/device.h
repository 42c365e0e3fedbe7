#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// Everything that the worker asks of CUDA beside tensors. device_cuda.cpp answers where CUDA's
/// libraries are linked; device_cpu.cpp elsewhere: there is no usable CUDA then, and what needs one
/// throws std::logic_error.
namespace isosweep::cuda {

/// Whether CUDA's libraries are linked. Touches no driver.
bool is_built_in();

/// Whether there is a GPU that works. Starts the driver, creates no context.
bool is_usable();

/// Creates the context of the current GPU, if there is none yet.
void initialize();

/// The current GPU.
struct Properties {
    std::string name;                ///< "NVIDIA H200"
    std::string uuid;                ///< "GPU-...", as NVML names it
    std::string compute_capability;  ///< "9.0"
    std::int64_t sm_count = 0;
    double sm_clock_max_mhz = 0;
    std::string runtime;  ///< CUDA's runtime library: "13.0"
};
Properties properties();

/// Waits until the current GPU has done all work.
void synchronize();

/// The CUDA error that the current GPU is left with, 0 for none. Waits for its work; never throws.
int pending_error() noexcept;

/// The current GPU's memory. All in bytes.
struct Memory {
    std::int64_t capacity = 0;        ///< of the GPU
    std::int64_t free = 0;            ///< that may still be taken: of the GPU, or of the limit
    std::int64_t allocated = 0;       ///< by tensors of this process
    std::int64_t reserved = 0;        ///< by this process' allocator, `allocated` included
    std::int64_t peak_allocated = 0;  ///< since `reset_peak_memory`
    std::int64_t peak_reserved = 0;   ///< likewise
    std::int64_t requested = 0;       ///< `allocated` before rounding to blocks
    std::int64_t peak_requested = 0;  ///< `peak_allocated` before rounding
    std::int64_t used = 0;            ///< of the GPU, by all processes
    std::optional<std::int64_t> limit;
};
Memory memory();

/// What the allocator did since the process started.
struct AllocatorCounts {
    std::int64_t device_allocations = 0;  ///< that went to the driver
    std::int64_t retries = 0;             ///< that succeeded only after the cache was emptied
};
AllocatorCounts allocator_counts();

void reset_peak_memory();

/// Caps what the allocator may reserve, so that a large GPU behaves as a small one; nothing: no
/// cap. The context and the libraries' own memory are not counted.
void limit_memory(std::optional<std::int64_t> bytes);

/// Frees the workspaces that cuBLAS holds; it makes new ones when it needs them.
void release_workspaces();

/// A block that the allocator handed out or took back.
struct AllocationEvent {
    bool is_free = false;
    std::uintptr_t address = 0;
    std::int64_t bytes = 0;  ///< as requested
};

/// Writes down all allocations on the current GPU from here to `stop_allocation_log`.
void start_allocation_log();
/// What was written down, in order.
std::vector<AllocationEvent> stop_allocation_log();

/// Gives memory that no tensor holds back to the driver, cuBLAS's workspaces included.
void release_cache();

/// An allocation that failed, and the memory as it was then.
struct OutOfMemory {
    std::int64_t requested = 0;
    Memory memory;
};

/// The last failed allocation since the last call. Asks the allocator's own record, not the GPU.
std::optional<OutOfMemory> take_out_of_memory();

/// A point on the time line of the current stream.
class Event {
  public:
    Event();
    ~Event();
    Event(Event&&) noexcept;
    Event& operator=(Event&&) = delete;

    /// Sets it behind all work that was enqueued so far. Does not wait. While a graph is captured
    /// it becomes a part of the graph, set by each replay.
    void record();

    /// Milliseconds on the GPU from here to a later event. Both lie behind a `synchronize`.
    double ms_until(const Event& later) const;

  private:
    void* event_ = nullptr;
};

/// Work on the GPU, captured once and started as one.
class Graph {
  public:
    Graph();
    ~Graph();
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    /// Runs `work`, which enqueues without waiting and reads nothing back; nothing of it is done.
    /// All that it allocates and does not free stays taken until the graph goes. Throws what `work`
    /// throws.
    void capture(const std::function<void()>& work);

    /// Enqueues what was captured on the current stream.
    void replay();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace isosweep::cuda
