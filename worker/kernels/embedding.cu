// The gradient of an embedding's weight: row v is the sum of of_x's rows whose id is v, in their
// order.
//
// of_x: fp32 [rows, width]; ids: int64 [rows]; of_weight: fp32 [vocabulary, width]. A block owns
// `owned` rows of the weight. It looks through all ids, lists those that are its own in their
// order, and then its warps write each of its rows once, a few columns at a time: no sort, no
// atomics. A list that is full is worked off before the search goes on. Bytes moved:
// 4 width (vocabulary + rows); the ids come from the cache. On an H200 71 to
// 81 % of the speed of a copy of as many.

constexpr int owned = 8;
constexpr int embedding_threads = 512;
constexpr int embedding_warps = embedding_threads / 32;
constexpr int ids_of_thread = 4;  // at once
constexpr int ids_at_once = ids_of_thread * embedding_threads;
constexpr int list_size = 2 * ids_at_once;

KERNEL __launch_bounds__(embedding_threads)
    embedding_backward(const float* __restrict__ of_x, const long long* __restrict__ ids,
                       float* __restrict__ of_weight, int rows, long long vocabulary, int width) {
    constexpr int side_by_side = wide ? 4 : 1;
    __shared__ int listed_rows[list_size];
    __shared__ signed char listed_ids[list_size];  // counted from the block's first
    __shared__ int of_warps[embedding_warps];
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const long long first = static_cast<long long>(blockIdx.x) * owned;
    const int own_rows = vocabulary - first < owned ? static_cast<int>(vocabulary - first) : owned;
    int listed = 0;
    bool is_first_list = true;
    for (int start = 0; start < rows; start += ids_at_once) {
        // Each warp looks at ids that lie side by side, 32 at a time.
        const int first_row = start + warp * 32 * ids_of_thread + lane;
        int id[ids_of_thread];  // -1: another block's
#pragma unroll
        for (int i = 0; i < ids_of_thread; ++i) {
            const int row = first_row + i * 32;
            const long long own = row < rows ? ids[row] - first : -1;
            id[i] = own >= 0 && own < own_rows ? static_cast<int>(own) : -1;
        }
        unsigned int own_lanes[ids_of_thread];
        int of_warp = 0;
#pragma unroll
        for (int i = 0; i < ids_of_thread; ++i) {
            own_lanes[i] = __ballot_sync(0xffffffffu, id[i] >= 0);
            of_warp += __popc(own_lanes[i]);
        }
        __syncthreads();  // what was written before has been read
        if (lane == 0) of_warps[warp] = of_warp;
        __syncthreads();
        int place = listed;
        for (int other = 0; other < embedding_warps; ++other) {
            if (other < warp) place += of_warps[other];
            listed += of_warps[other];
        }
#pragma unroll
        for (int i = 0; i < ids_of_thread; ++i) {
            if (id[i] >= 0) {
                const int own_place = place + __popc(own_lanes[i] & ((1u << lane) - 1u));
                listed_rows[own_place] = first_row + i * 32;
                listed_ids[own_place] = static_cast<signed char>(id[i]);
            }
            place += __popc(own_lanes[i]);
        }
        __syncthreads();
        const bool is_last = start + ids_at_once >= rows;
        if (!is_last && listed + ids_at_once <= list_size) continue;

        const int accesses = width / side_by_side;
        const int parts = (accesses + 31) / 32;  // of a row
        for (int i = warp; i < own_rows * parts; i += embedding_warps) {
            const int own = i / parts;
            const int access_of_row = i % parts * 32 + lane;
            const bool is_in_row = access_of_row < accesses;
            const int column = (is_in_row ? access_of_row : 0) * side_by_side;
            float* const to = of_weight + (first + own) * width + column;
            float sum[side_by_side];
            if (is_first_list) {
                for (int k = 0; k < side_by_side; ++k) sum[k] = 0;
            } else {
                load(to, sum);
            }
            for (int j = 0; j < listed; j += 32) {
                unsigned int matches = __ballot_sync(
                    0xffffffffu, j + lane < listed && listed_ids[j + lane] == own);
                for (; matches != 0; matches &= matches - 1) {
                    const int row = listed_rows[j + __ffs(static_cast<int>(matches)) - 1];
                    float values[side_by_side];
                    load(of_x + static_cast<long long>(row) * width + column, values);
                    for (int k = 0; k < side_by_side; ++k) sum[k] += values[k];
                }
            }
            if (is_in_row) store(to, sum);
        }
        listed = 0;
        is_first_list = false;
    }
}
