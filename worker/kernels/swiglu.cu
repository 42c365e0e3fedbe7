// silu(gate) * up, forward and backward, with silu(g) = g s, s = 1 / (1 + exp(-g)).
//
// gate_up: [rows, 2 width], a row's gate before its up. Backward, with p = of_product:
//   of_up = p g s, of_gate = p up s (1 + g (1 - s)), and the product once more, which the gradient
//   of the next weight needs and nobody kept.
//
// Blocks are [rows, parts of a row]. Bytes moved per number of the product in bf16: 6 forward, 12
// backward; on an H200 95 to 99 % and 94 to 96 % of the speed of a copy of as many.

__device__ inline float sigmoid(float x) { return reciprocal(1.0f + exponential(-x)); }

KERNEL swiglu(const number* __restrict__ gate_up, number* __restrict__ product, int width) {
    const int column = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * access;
    if (column >= width) return;
    const long long row = blockIdx.x;
    const number* const from = gate_up + row * 2 * width + column;
    float gate[access];
    float up[access];
    load(from, gate);
    load(from + width, up);
#pragma unroll
    for (int i = 0; i < access; ++i) up[i] *= gate[i] * sigmoid(gate[i]);
    store(product + row * width + column, up);
}

KERNEL swiglu_backward(const number* __restrict__ of_product, const number* __restrict__ gate_up,
                       number* __restrict__ of_gate_up, number* __restrict__ product, int width) {
    const int column = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * access;
    if (column >= width) return;
    const long long row = blockIdx.x;
    const long long start = row * 2 * width + column;
    float gradient[access];
    float gate[access];
    float up[access];
    load(of_product + row * width + column, gradient);
    load(gate_up + start, gate);
    load(gate_up + start + width, up);
    float of_up[access];
    float of_gate[access];
#pragma unroll
    for (int i = 0; i < access; ++i) {
        const float s = sigmoid(gate[i]);
        const float activated = gate[i] * s;
        of_up[i] = gradient[i] * activated;
        of_gate[i] = gradient[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
        up[i] *= activated;
    }
    store(of_gate_up + start, of_gate);
    store(of_gate_up + start + width, of_up);
    store(product + row * width + column, up);
}
