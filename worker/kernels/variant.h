#pragma once

#include <compare>

namespace isosweep::kernels {

/// What kernels are compiled for. Each variant has all of them, by the same names.
struct Variant {
    bool is_bf16 = false;  ///< the numbers that are fp32 or bf16 are bf16
    bool is_wide = false;  ///< rows begin at, and are multiples of, 16 bytes

    auto operator<=>(const Variant&) const = default;
};

}  // namespace isosweep::kernels
