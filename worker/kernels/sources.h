#pragma once

#include <span>
#include <string_view>

namespace isosweep::kernels {

/// One of the .cu and .cuh files of this folder, as it was when the program was built.
struct Source {
    const char* name;  ///< as others include it
    const char* text;
};

/// All of them; the first one is compiled, and includes the others.
std::span<const Source> sources();

}  // namespace isosweep::kernels
