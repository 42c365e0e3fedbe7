// A block of fp32 as bf16: all weights of a model at once, up to billions.
//
// A block takes `accesses` times 8 numbers (1 where the block is not aligned) for each of its
// threads. Bytes moved per number: 6.
KERNEL cast(const float* __restrict__ from, bf16* __restrict__ to, long long count) {
    constexpr int width = wide ? 8 : 1;
    constexpr int accesses = 4;
    const long long stride = static_cast<long long>(blockDim.x) * width;
    const long long first = static_cast<long long>(blockIdx.x) * accesses * stride +
                            static_cast<long long>(threadIdx.x) * width;
    float values[accesses][width];
#pragma unroll
    for (int i = 0; i < accesses; ++i)
        if (first + i * stride + width <= count) load(from + first + i * stride, values[i]);
#pragma unroll
    for (int i = 0; i < accesses; ++i) {
        const long long at = first + i * stride;
        if (at + width <= count) {
            store(to + at, values[i]);
        } else {
            // The few behind the last whole access.
            for (long long k = at; k < count; ++k) to[k] = from_float<bf16>(from[k]);
        }
    }
}
