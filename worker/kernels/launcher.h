#pragma once

#include <cstdint>

#include "variant.h"

namespace isosweep::kernels {

/// A kernel and how many of it. Blocks are counted in two dimensions, threads in one.
struct Launch {
    Variant variant;
    const char* kernel;
    int threads = 0;  ///< of a block; a multiple of 32
    std::int64_t blocks = 0;
    std::int64_t blocks_y = 1;
};

/// What runs the kernels: a GPU, or in tests the host.
class Launcher {
  public:
    Launcher() = default;
    virtual ~Launcher() = default;
    Launcher(const Launcher&) = delete;
    Launcher& operator=(const Launcher&) = delete;

    /// Whether kernels of a variant can be launched; loads them at its first call.
    virtual bool has(Variant variant) = 0;

    /// Whether it has loaded a variant already.
    virtual bool is_loaded(Variant variant) const = 0;

    /// Enqueues a kernel of a variant that it has. `arguments` points to each of the kernel's.
    virtual void launch(const Launch& launch, void** arguments) = 0;

    /// How many blocks are worked on at the same time at least.
    virtual int multiprocessors() const = 0;
};

}  // namespace isosweep::kernels
