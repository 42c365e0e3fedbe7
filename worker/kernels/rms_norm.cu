// RMSNorm of a sum with both casts, forward and backward.
//
// Forward: sum = x + addend, scale = 1 / sqrt(mean(sum²) + epsilon), normed = sum scale weight.
// Backward, with n = sum scale and a = of_normed weight:
//   of_sum = of_sum_later + scale (a - n mean(a n)), of_weight = sum over rows of of_normed n.
//
// x, sum, of_sum, of_sum_later: fp32 [rows, width]; addend, normed and their gradients: fp32 or
// bf16. A block takes a row and keeps it in registers, `kept` numbers a thread, so that it is read
// once: bytes moved per number in bf16 are 12 forward (6 without an addend), 16 backward (12
// without of_sum_later). On an H200 90 to 99 % and, with the sum over rows, 68 to 85 % of the speed
// of a copy of as many.
//
// The weight's gradient: a block takes every gridDim.x-th row and adds up what belongs to its
// threads' columns; a second kernel adds what the blocks wrote, [blocks, width].

constexpr int kept = 16;
constexpr int max_norm_threads = 512;
constexpr int norm_access = wide ? 4 : 1;

/// What a thread keeps of a row: a few numbers side by side, several times.
using Kept = float[kept / norm_access][norm_access];

/// action(i, column, is_own) for the i-th columns of this thread that lie side by side. Behind the
/// end of the row it is given the row's last columns, which are not its own: loads without a branch
/// are on their way together.
template <typename Action>
__device__ inline void for_each_kept(int width, Action action) {
#pragma unroll
    for (int i = 0; i < kept / norm_access; ++i) {
        const int column =
            (i * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * norm_access;
        const bool is_own = column < width;
        action(i, is_own ? column : width - norm_access, is_own);
    }
}

/// Reads the thread's columns of a row.
template <typename T>
__device__ inline void load_kept(const T* row, int width, Kept& values) {
    for_each_kept(width, [&](int i, int column, bool) { load(row + column, values[i]); });
}

template <bool Adds, typename A>
__device__ inline void norm_of_sum(const float* __restrict__ x, const A* __restrict__ addend,
                                   const float* __restrict__ weight, float epsilon,
                                   float* __restrict__ sum, number* __restrict__ normed,
                                   float* __restrict__ scale, int width) {
    const long long row = blockIdx.x;
    const long long start = row * width;
    Kept added;
    Kept values;
    Kept weights;
    load_kept(x + start, width, values);
    if constexpr (Adds) load_kept(addend + start, width, added);
    load_kept(weight, width, weights);
    if constexpr (Adds) {
        for_each_kept(width, [&](int i, int column, bool is_own) {
            for (int k = 0; k < norm_access; ++k) values[i][k] += added[i][k];
            if (is_own) store(sum + start + column, values[i]);
        });
    }
    float squares = 0;
    for_each_kept(width, [&](int i, int, bool is_own) {
        for (int k = 0; k < norm_access; ++k)
            squares += is_own ? values[i][k] * values[i][k] : 0.0f;
    });
    const float factor = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(width) + epsilon);
    for_each_kept(width, [&](int i, int column, bool is_own) {
        for (int k = 0; k < norm_access; ++k) values[i][k] *= factor * weights[i][k];
        if (is_own) store(normed + start + column, values[i]);
    });
    if (threadIdx.x == 0) scale[row] = factor;
}

KERNEL __launch_bounds__(max_norm_threads)
    rms_norm(const float* __restrict__ x, const float* __restrict__ weight, float epsilon,
             number* __restrict__ normed, float* __restrict__ scale, int width) {
    norm_of_sum<false, number>(x, nullptr, weight, epsilon, nullptr, normed, scale, width);
}

KERNEL __launch_bounds__(max_norm_threads)
    rms_norm_of_sum(const float* __restrict__ x, const number* __restrict__ addend,
                    const float* __restrict__ weight, float epsilon, float* __restrict__ sum,
                    number* __restrict__ normed, float* __restrict__ scale, int width) {
    norm_of_sum<true>(x, addend, weight, epsilon, sum, normed, scale, width);
}

KERNEL __launch_bounds__(max_norm_threads)
    rms_norm_of_fp32_sum(const float* __restrict__ x, const float* __restrict__ addend,
                         const float* __restrict__ weight, float epsilon, float* __restrict__ sum,
                         number* __restrict__ normed, float* __restrict__ scale, int width) {
    norm_of_sum<true>(x, addend, weight, epsilon, sum, normed, scale, width);
}

/// `of_sum_later` and `of_addend` may be null. of_weights: [gridDim.x, width], for `sum_rows`.
KERNEL __launch_bounds__(max_norm_threads)
    rms_norm_backward(const number* __restrict__ of_normed, const float* __restrict__ of_sum_later,
                      const float* __restrict__ sum, const float* __restrict__ scale,
                      const float* __restrict__ weight, float* __restrict__ of_sum,
                      bf16* __restrict__ of_addend, float* __restrict__ of_weights, long long rows,
                      int width) {
    Kept weights;
    Kept of_weight;
    load_kept(weight, width, weights);
    for_each_kept(width, [&](int i, int, bool) {
        for (int k = 0; k < norm_access; ++k) of_weight[i][k] = 0;
    });
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long start = row * width;
        const float factor = scale[row];
        Kept direction;
        Kept gradient;
        Kept later;
        load_kept(sum + start, width, direction);
        load_kept(of_normed + start, width, gradient);
        if (of_sum_later) {
            load_kept(of_sum_later + start, width, later);
        } else {
            for_each_kept(width, [&](int i, int, bool) {
                for (int k = 0; k < norm_access; ++k) later[i][k] = 0;
            });
        }
        float along = 0;
        for_each_kept(width, [&](int i, int, bool is_own) {
            for (int k = 0; k < norm_access; ++k) {
                direction[i][k] *= factor;
                of_weight[i][k] += gradient[i][k] * direction[i][k];
                gradient[i][k] *= weights[i][k];
                along += is_own ? gradient[i][k] * direction[i][k] : 0.0f;
            }
        });
        along = block_sum(along) / static_cast<float>(width);
        for_each_kept(width, [&](int i, int column, bool is_own) {
            for (int k = 0; k < norm_access; ++k)
                later[i][k] += factor * (gradient[i][k] - direction[i][k] * along);
            if (!is_own) return;
            store(of_sum + start + column, later[i]);
            if (of_addend) store(of_addend + start + column, later[i]);
        });
    }
    float* const own = of_weights + static_cast<long long>(blockIdx.x) * width;
    for_each_kept(width, [&](int i, int column, bool is_own) {
        if (is_own) store(own + column, of_weight[i]);
    });
}

/// Sums over rows of fp32 [rows, width]. A block takes 8 columns, which are 32 bytes of a row, the
/// least that memory moves.
KERNEL __launch_bounds__(512) sum_rows(const float* from, float* to, int rows, int width) {
    constexpr int columns = 8;
    constexpr int accesses = 8;  // at once, by each thread
    __shared__ float of_warps[columns][33];
    const int thread = static_cast<int>(threadIdx.x);
    const int warps = static_cast<int>(blockDim.x) / 32;
    const int stride = warps * (32 / columns);
    const int column = static_cast<int>(blockIdx.x) * columns + thread % columns;
    float sum = 0;
    for (int row = thread / columns; row < rows; row += accesses * stride) {
        float values[accesses];
#pragma unroll
        for (int i = 0; i < accesses; ++i) {
            const int other = row + i * stride;
            values[i] = other < rows && column < width
                            ? from[static_cast<long long>(other) * width + column]
                            : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < accesses; ++i) sum += values[i];
    }
    // Lanes of the same column are 8 apart.
    sum += __shfl_xor_sync(0xffffffffu, sum, 8);
    sum += __shfl_xor_sync(0xffffffffu, sum, 16);
    if (thread % 32 < columns) of_warps[thread % 32][thread / 32] = sum;
    __syncthreads();
    // A warp adds up a column.
    const int own = thread / 32;
    if (own >= columns) return;
    for (int other = own; other < columns; other += warps) {
        sum = thread % 32 < warps ? of_warps[other][thread % 32] : 0.0f;
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        const int at = static_cast<int>(blockIdx.x) * columns + other;
        if (thread % 32 == 0 && at < width) to[at] = sum;
    }
}
