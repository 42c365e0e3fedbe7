// What the kernels share: 16-bit floats, accesses of several numbers at once, sums of a block.
//
// No header is included, so that NVRTC needs none where the program runs. Sums are made in an order
// that depends on the launch alone: the same input gives the same bits.
#pragma once

/// Marks what is launched, by its plain name.
#ifndef KERNEL  // the test that runs these sources on a CPU has one of its own
#define KERNEL extern "C" __global__ void
#endif

/// The upper half of a float.
struct bf16 {
    unsigned short bits;
};

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(bf16 value) {
    union {
        unsigned int bits;
        float value;
    } converted;
    converted.bits = static_cast<unsigned int>(value.bits) << 16;
    return converted.value;
}

template <typename T>
__device__ T from_float(float value);

template <>
__device__ inline float from_float<float>(float value) {
    return value;
}

/// To the nearest, ties to even.
template <>
__device__ inline bf16 from_float<bf16>(float value) {
    bf16 result;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
    union {
        float value;
        unsigned int bits;
    } converted;
    converted.value = value;
    if (value != value)
        result.bits = 0x7fff;
    else
        result.bits = static_cast<unsigned short>(
            (converted.bits + 0x7fffu + ((converted.bits >> 16) & 1u)) >> 16);
#endif
    return result;
}

/// exp(x), within 2e-7 (1 + |x|) of it.
__device__ inline float exponential(float x) {
    const float scaled = x * 1.4426950408889634f;
#ifdef __CUDA_ARCH__
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(scaled));
    return result;
#else
    return exp2f(scaled);
#endif
}

/// 1 / x for x of at least 1, within 1e-7 of it.
__device__ inline float reciprocal(float x) {
#ifdef __CUDA_ARCH__
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
#else
    return 1.0f / x;
#endif
}

/// N numbers that are read or written as one; at most 16 bytes by one instruction.
template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
    T values[N];
};

template <typename T, int N>
__device__ inline void load(const T* from, float (&to)[N]) {
    const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = to_float(pack.values[i]);
}

template <typename T, int N>
__device__ inline void store(T* to, const float (&from)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.values[i] = from_float<T>(from[i]);
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

/// The block's threads put their values together, and each gets the result. Blocks are whole warps.
template <typename Join>
__device__ inline float of_block(float value, Join join) {
    __shared__ float of_warps[32];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        value = join(value, __shfl_xor_sync(0xffffffffu, value, distance));
    __syncthreads();  // the results of the last call have been read
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = value;
    __syncthreads();
    float result = of_warps[0];
    for (int warp = 1; warp < static_cast<int>(blockDim.x) / 32; ++warp)
        result = join(result, of_warps[warp]);
    return result;
}

__device__ inline float block_sum(float value) {
    return of_block(value, [](float a, float b) { return a + b; });
}

__device__ inline float block_max(float value) {
    return of_block(value, [](float a, float b) { return a > b ? a : b; });
}
