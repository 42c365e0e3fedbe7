#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "variant.h"

namespace isosweep::kernels {

/// Why kernels cannot be had; one line.
class Unavailable : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// NVRTC, NVIDIA's compiler as a library, which LibTorch with CUDA brings along. It needs no GPU.
class Compiler {
  public:
    /// Loads the library. Throws Unavailable where it is not found.
    Compiler();
    ~Compiler();
    Compiler(Compiler&&) noexcept;
    Compiler& operator=(Compiler&&) = delete;

    /// Of the library: "13.0".
    std::string version() const;

    /// All kernels of this program in a variant, as machine code (a cubin) for GPUs of a compute
    /// capability, such as 90. Throws Unavailable with the first of the compiler's messages.
    std::string compile(Variant variant, int compute_capability) const;

    /// What `compile` is given beside the sources.
    static std::vector<std::string> options(Variant variant, int compute_capability);

  private:
    struct Library;
    std::unique_ptr<const Library> library_;
};

}  // namespace isosweep::kernels
