// All kernels, as they are compiled at run time: for one type of numbers, NUMBER, and for rows that
// are multiples of 16 bytes, or not (WIDE 1 or 0).
#include "common.cuh"

using number = NUMBER;
constexpr bool wide = WIDE;
constexpr int access = wide ? 16 / sizeof(number) : 1;  // numbers of one access

#include "cast.cu"
#include "cross_entropy.cu"
#include "embedding.cu"
#include "rms_norm.cu"
#include "rotary.cu"
#include "swiglu.cu"
