// RMSNorm of a sum with both casts, forward and backward.
//
// Forward: sum = x + addend, scale = 1 / sqrt(mean(sum²) + epsilon), normed = sum scale weight.
// Backward, with n = sum scale and a = of_normed weight:
//   of_sum = of_sum_later + scale (a - n mean(a n)), of_weight = sum over rows of of_normed n.
//
// x, sum, of_sum, of_sum_later: fp32 [rows, width]; addend, normed and their gradients: fp32 or
// bf16. A block takes a row and keeps it in registers, `kept` numbers a thread, so that it is read
// once: bytes moved per number in bf16 are 12 forward (6 without an addend), 16 backward (12
// without of_sum_later).
//
// The weight's gradient: a block takes every gridDim.x-th row and adds up what belongs to its
// threads' columns; a second kernel adds what the blocks wrote, [blocks, width].
constexpr int kept = 16;
constexpr int max_norm_threads = 512;
constexpr int norm_access = wide ? 4 : 1;

/// What a thread keeps of a row: a few numbers side by side, several times.
using Kept = float[kept / norm_access][norm_access];

/// action(i, column) for the i-th columns that lie side by side of this thread.
template <typename Action>
__device__ inline void for_each_kept(int width, Action action) {
#pragma unroll
    for (int i = 0; i < kept / norm_access; ++i) {
        const int column =
            (i * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * norm_access;
        if (column < width) action(i, column);
    }
}

template <typename A>
__device__ inline void norm_of_sum(const float* __restrict__ x, const A* __restrict__ addend,
                                   const float* __restrict__ weight, float epsilon,
                                   float* __restrict__ sum, number* __restrict__ normed,
                                   float* __restrict__ scale, int width) {
    const long long row = blockIdx.x;
    const long long start = row * width;
    Kept values;
    Kept weights;
    for_each_kept(width, [&](int i, int column) { load(x + start + column, values[i]); });
    if (addend) {
        Kept added;
        for_each_kept(width, [&](int i, int column) { load(addend + start + column, added[i]); });
        for_each_kept(width, [&](int i, int column) {
            for (int k = 0; k < norm_access; ++k) values[i][k] += added[i][k];
            store(sum + start + column, values[i]);
        });
    }
    // Before the threads wait for each other.
    for_each_kept(width, [&](int i, int column) { load(weight + column, weights[i]); });
    float squares = 0;
    for_each_kept(width, [&](int i, int) {
        for (int k = 0; k < norm_access; ++k) squares += values[i][k] * values[i][k];
    });
    const float factor = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(width) + epsilon);
    for_each_kept(width, [&](int i, int column) {
        for (int k = 0; k < norm_access; ++k) values[i][k] *= factor * weights[i][k];
        store(normed + start + column, values[i]);
    });
    if (threadIdx.x == 0) scale[row] = factor;
}

/// `addend` may be null: then nothing is added, and `sum` is not written.
KERNEL __launch_bounds__(max_norm_threads)
    rms_norm(const float* x, const number* addend, const float* weight, float epsilon, float* sum,
             number* normed, float* scale, int width) {
    norm_of_sum(x, addend, weight, epsilon, sum, normed, scale, width);
}

KERNEL __launch_bounds__(max_norm_threads)
    rms_norm_of_fp32(const float* x, const float* addend, const float* weight, float epsilon,
                     float* sum, number* normed, float* scale, int width) {
    norm_of_sum(x, addend, weight, epsilon, sum, normed, scale, width);
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
    for_each_kept(width, [&](int i, int column) {
        load(weight + column, weights[i]);
        for (int k = 0; k < norm_access; ++k) of_weight[i][k] = 0;
    });
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long start = row * width;
        Kept direction;
        Kept gradient;
        Kept later;
        for_each_kept(width, [&](int i, int column) { load(sum + start + column, direction[i]); });
        for_each_kept(width,
                      [&](int i, int column) { load(of_normed + start + column, gradient[i]); });
        for_each_kept(width, [&](int i, int column) {
            if (of_sum_later) {
                load(of_sum_later + start + column, later[i]);
            } else {
                for (int k = 0; k < norm_access; ++k) later[i][k] = 0;
            }
        });
        const float factor = scale[row];
        float along = 0;
        for_each_kept(width, [&](int i, int) {
            for (int k = 0; k < norm_access; ++k) {
                direction[i][k] *= factor;
                of_weight[i][k] += gradient[i][k] * direction[i][k];
                gradient[i][k] *= weights[i][k];
                along += gradient[i][k] * direction[i][k];
            }
        });
        along = block_sum(along) / static_cast<float>(width);
        for_each_kept(width, [&](int i, int column) {
            for (int k = 0; k < norm_access; ++k)
                later[i][k] += factor * (gradient[i][k] - direction[i][k] * along);
            store(of_sum + start + column, later[i]);
            if (of_addend) store(of_addend + start + column, later[i]);
        });
    }
    float* own = of_weights + static_cast<long long>(blockIdx.x) * width;
    for_each_kept(width, [&](int i, int column) { store(own + column, of_weight[i]); });
}

/// Sums over rows of fp32 [rows, width]. A block takes 8 columns, which are 32 bytes of a row, the
/// least that memory moves.
KERNEL __launch_bounds__(1024) sum_rows(const float* from, float* to, int rows, int width) {
    constexpr int columns = 8;
    __shared__ float of_warps[32][columns];
    const int thread = static_cast<int>(threadIdx.x);
    const int threads = static_cast<int>(blockDim.x);
    const int column = static_cast<int>(blockIdx.x) * columns + thread % columns;
    float sum = 0;
    if (column < width)
        for (int row = thread / columns; row < rows; row += threads / columns)
            sum += from[static_cast<long long>(row) * width + column];
    // Lanes of the same column are 8 apart.
    sum += __shfl_xor_sync(0xffffffffu, sum, 8);
    sum += __shfl_xor_sync(0xffffffffu, sum, 16);
    if (thread % 32 < columns) of_warps[thread / 32][thread % columns] = sum;
    __syncthreads();
    if (thread >= columns || column >= width) return;
    sum = 0;
    for (int warp = 0; warp < threads / 32; ++warp) sum += of_warps[warp][thread];
    to[column] = sum;
}
