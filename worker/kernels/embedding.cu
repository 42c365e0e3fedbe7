// The gradient of an embedding's weight: row v is the sum of of_x's rows whose id is v, in their
// order.
//
// of_x: fp32 [rows, width]; ids: int64 [rows]; of_weight: fp32 [vocabulary, width]. A block owns
// `owned` rows of the weight. It looks through all ids, lists those that are its own in their
// order, and then writes each of its rows once: no sort, no atomics. A list that is full is worked
// off before the search goes on. Bytes moved: 4 width (vocabulary + rows); the ids come from the
// cache.

constexpr int owned = 16;
constexpr int embedding_threads = 256;
constexpr int list_size = 2048;

KERNEL __launch_bounds__(embedding_threads)
    embedding_backward(const float* __restrict__ of_x, const long long* __restrict__ ids,
                       float* __restrict__ of_weight, int rows, long long vocabulary, int width) {
    constexpr int side_by_side = wide ? 4 : 1;
    __shared__ int listed_rows[list_size];
    __shared__ unsigned char listed_ids[list_size];  // counted from the block's first
    __shared__ int of_warps[embedding_threads / 32];
    const int thread = static_cast<int>(threadIdx.x);
    const long long first = static_cast<long long>(blockIdx.x) * owned;
    const int own_rows = vocabulary - first < owned ? static_cast<int>(vocabulary - first) : owned;
    int listed = 0;
    bool is_first_list = true;
    for (int start = 0; start < rows; start += embedding_threads) {
        const int row = start + thread;
        const long long id = row < rows ? ids[row] - first : -1;
        const bool is_own = id >= 0 && id < own_rows;
        const unsigned int own_lanes = __ballot_sync(0xffffffffu, is_own);
        if (thread % 32 == 0) of_warps[thread / 32] = __popc(own_lanes);
        __syncthreads();
        int place = listed;
        for (int warp = 0; warp < embedding_threads / 32; ++warp) {
            if (warp < thread / 32) place += of_warps[warp];
            listed += of_warps[warp];
        }
        if (is_own) {
            place += __popc(own_lanes & ((1u << thread % 32) - 1u));
            listed_rows[place] = row;
            listed_ids[place] = static_cast<unsigned char>(id);
        }
        __syncthreads();
        const bool is_last = start + embedding_threads >= rows;
        if (!is_last && listed + embedding_threads <= list_size) continue;

        const int accesses = width / side_by_side;
        for (int i = thread; i < own_rows * accesses; i += embedding_threads) {
            const int own = i / accesses;
            const int column = i % accesses * side_by_side;
            float* const to = of_weight + (first + own) * width + column;
            float sum[side_by_side];
            if (is_first_list) {
                for (int k = 0; k < side_by_side; ++k) sum[k] = 0;
            } else {
                load(to, sum);
            }
            for (int j = 0; j < listed; ++j) {
                if (listed_ids[j] != own) continue;
                float values[side_by_side];
                load(of_x + static_cast<long long>(listed_rows[j]) * width + column, values);
                for (int k = 0; k < side_by_side; ++k) sum[k] += values[k];
            }
            store(to, sum);
        }
        // The next entries are made behind a barrier, when all have read these.
        listed = 0;
        is_first_list = false;
    }
}
