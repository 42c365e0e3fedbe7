#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

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

/// The current GPU's name: "NVIDIA H200".
std::string device_name();

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
    std::optional<std::int64_t> limit;
};
Memory memory();

void reset_peak_memory();

/// Caps what the allocator may reserve, so that a large GPU behaves as a small one; nothing: no
/// cap. The context and the libraries' own memory are not counted.
void limit_memory(std::optional<std::int64_t> bytes);

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

    /// Sets it behind all work that was enqueued so far. Does not wait.
    void record();

    /// Milliseconds on the GPU from here to a later event. Both lie behind a `synchronize`.
    double ms_until(const Event& later) const;

  private:
    void* event_ = nullptr;
};

}  // namespace isosweep::cuda
