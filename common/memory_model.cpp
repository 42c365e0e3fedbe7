#include <isosweep/memory_model.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace isosweep {
namespace {

constexpr double mebi = 1024.0 * 1024.0;
/// What cuBLAS takes for one thread on Hopper: the step's own, and that of autograd's.
constexpr double cublas_workspace = 32 * mebi;
constexpr double fp32_bytes = 4;
constexpr double bf16_bytes = 2;

/// The sizes that memory is made of. All but `layers` count elements; doubles, since a cell may ask
/// for what no integer holds.
struct Sizes {
    explicit Sizes(const Cell& cell)
        : width(static_cast<double>(cell.d_model)),
          inner_width(static_cast<double>(cell.d_ff)),
          layers(static_cast<double>(cell.num_layers)),
          vocabulary(static_cast<double>(cell.vocab_size)),
          context(static_cast<double>(cell.context_length)),
          tokens(static_cast<double>(cell.batch_size) * context),
          head_rows(tokens * static_cast<double>(cell.num_heads)),
          stream(tokens * width),
          inner(tokens * inner_width),
          scores(head_rows * context),
          logits(tokens * vocabulary) {}

    double width, inner_width, layers, vocabulary, context;
    double tokens;
    double head_rows;  ///< rows of all attention matrices
    double stream;     ///< the residual stream
    double inner;      ///< what lies between the feed-forward layer's products
    double scores;     ///< all attention matrices of a layer
    double logits;
};

/// A block's and the model's weights, in elements, by when the backward pass comes to them.
struct Weights {
    explicit Weights(const Sizes& s)
        : head(s.vocabulary * s.width),
          down(s.width * s.inner_width),
          gate_up(2 * s.width * s.inner_width),
          output(s.width * s.width),
          inputs(3 * s.width * s.width) {}

    double feed_forward() const { return down + gate_up; }
    double block() const { return feed_forward() + output + inputs; }

    double head;     ///< the output projection's; the embedding has as many
    double down;     ///< w2
    double gate_up;  ///< w1 and w3
    double output;   ///< of attention
    double inputs;   ///< q, k, v
};

/// A moment of a step, in bytes beside parameters and optimizer.
struct Moment {
    double gradients = 0;
    double activations = 0;
    double workspace = 0;

    double total() const { return gradients + activations + workspace; }
};

/// What one block takes, in bytes, by kernels and precision. "Freed" is what of `kept` the backward
/// pass has freed at that moment.
struct BlockMemory {
    double kept = 0;               ///< for the backward pass, its input included
    double without_gradients = 0;  ///< at most while it runs and keeps nothing, its input included
    double casts = 0;              ///< of its weights, of which `kept` has them, too

    double feed_forward_freed = 0;
    double feed_forward_workspace = 0;
    double attention_freed = 0;
    double attention_workspace = 0;

    // Of fused kernels alone: before the feed-forward layer's weights have gradients, and while
    // those of queries, keys and values are put together.
    double activation_workspace = 0;
    double projections_freed = 0;
    double projections_workspace = 0;
};

/// The operations as the course writes them, all fp32 (tf32 differs inside of the products only).
BlockMemory reference_fp32(const Sizes& s) {
    BlockMemory block;
    // Softmax keeps the exponentials and the weights, and the places of the maxima as 64 bits.
    block.kept = 40 * s.stream + 16 * s.inner + 8 * s.scores + 12 * s.head_rows + 8 * s.tokens;
    block.without_gradients = std::max(20 * s.stream + 16 * s.scores, 16 * s.stream + 16 * s.inner);
    block.feed_forward_freed = 4 * s.inner;
    block.feed_forward_workspace = 4 * s.stream + 12 * s.inner;
    // In the quotient of softmax five matrices of scores are there at a time.
    block.attention_freed = 16 * s.inner + 20 * s.stream + 4 * s.scores;
    block.attention_workspace = 8 * s.stream + 20 * s.scores;
    return block;
}

/// The same under autocast: the residual stream, norms and softmax are fp32, products bf16. Each
/// product keeps a cast of its own of what it reads.
BlockMemory reference_bf16(const Sizes& s, const Weights& weights) {
    BlockMemory block;
    block.casts = bf16_bytes * weights.block();
    block.kept =
        34 * s.stream + 8 * s.inner + 6 * s.scores + 12 * s.head_rows + 8 * s.tokens + block.casts;
    block.without_gradients = std::max(18 * s.stream + 12 * s.scores, 14 * s.stream + 8 * s.inner);
    block.feed_forward_freed = 2 * s.inner + bf16_bytes * weights.down;
    block.feed_forward_workspace = 6 * s.stream + 6 * s.inner;
    block.attention_freed = 8 * s.inner + 16 * s.stream + 2 * s.scores +
                            bf16_bytes * (weights.feed_forward() + weights.output);
    block.attention_workspace = 6 * s.stream + 20 * s.scores;
    return block;
}

/// Kept are both norms' sums and results, the heads, attention's result and what lies before silu.
/// The stream's gradient, which is that of the last product too, is there all the time.
BlockMemory fused_fp32(const Sizes& s) {
    BlockMemory block;
    block.kept = 32 * s.stream + 8 * s.inner + 4 * s.head_rows + 8 * s.tokens;
    block.without_gradients = std::max(24 * s.stream, 12 * s.stream + 12 * s.inner);
    block.activation_workspace = 4 * s.stream + 16 * s.inner;
    block.feed_forward_workspace = 8 * s.stream + 12 * s.inner;
    block.attention_freed = 8 * s.inner + 8 * s.stream;
    block.attention_workspace = 20 * s.stream;
    block.projections_freed = block.attention_freed + 16 * s.stream;
    block.projections_workspace = 32 * s.stream;
    return block;
}

/// The same with products and their gradients in two bytes, where attention adds up the gradient of
/// queries in fp32. The casts of the weights are one tensor for all blocks: not the block's.
BlockMemory fused_bf16(const Sizes& s) {
    BlockMemory block;
    block.kept = 20 * s.stream + 4 * s.inner + 4 * s.head_rows + 8 * s.tokens;
    block.without_gradients = std::max(14 * s.stream, 8 * s.stream + 6 * s.inner);
    block.activation_workspace = 6 * s.stream + 8 * s.inner;
    block.feed_forward_workspace = 8 * s.stream + 6 * s.inner;
    block.attention_freed = 4 * s.inner + 6 * s.stream;
    block.attention_workspace = 16 * s.stream;
    block.projections_freed = block.attention_freed + 8 * s.stream;
    block.projections_workspace = 18 * s.stream;
    return block;
}

BlockMemory block_memory(const Cell& cell, const Sizes& s, const Weights& weights) {
    const bool bf16 = cell.precision == Precision::bf16;
    if (cell.kernels == Kernels::fused) return bf16 ? fused_bf16(s) : fused_fp32(s);
    return bf16 ? reference_bf16(s, weights) : reference_fp32(s);
}

/// What PyTorch's caching allocator takes for a tensor: 10 MiB and more are asked of the driver in
/// steps of 2 MiB, and what is over is given to others only where it is more than 1 MiB.
double allocated(double bytes) {
    if (bytes < 10 * mebi) return std::ceil(bytes / 512) * 512;
    const double asked = std::ceil(bytes / (2 * mebi)) * 2 * mebi;
    return asked - bytes <= mebi ? asked : std::ceil(bytes / 512) * 512;
}

/// fp32 tensors in the shapes of all parameters.
double like_parameters(const Sizes& s) {
    const double width = allocated(fp32_bytes * s.width);
    const double square = allocated(fp32_bytes * s.width * s.width);
    const double inner = allocated(fp32_bytes * s.width * s.inner_width);
    return 2 * allocated(fp32_bytes * s.vocabulary * s.width) + width +
           s.layers * (4 * square + 3 * inner + 2 * width);
}

double parameters_and_buffers(const Cell& cell, const Sizes& s, const Weights& weights) {
    const double angles = s.context * s.width / static_cast<double>(cell.num_heads) / 2;
    const double buffers = 2 * fp32_bytes * angles;
    if (cell.kernels == Kernels::reference)
        return like_parameters(s) + buffers + s.context * s.context;
    return allocated(fp32_bytes * (s.layers * weights.block() + weights.head)) +
           allocated(fp32_bytes * weights.head) + (2 * s.layers + 1) * fp32_bytes * s.width +
           buffers;
}

/// The moments at which a step may hold most.
class Moments {
  public:
    explicit Moments(const Cell& cell)
        : cell_(cell),
          sizes_(cell),
          weights_(sizes_),
          block_(block_memory(cell, sizes_, weights_)),
          bf16_(cell.precision == Precision::bf16),
          fused_(cell.kernels == Kernels::fused) {
        const double all_linear = sizes_.layers * weights_.block() + weights_.head;
        if (bf16_ && fused_) one_cast_ = bf16_bytes * all_linear;
        inputs_ = 8 * sizes_.tokens * (cell.pass_type == PassType::train_step ? 2 : 1);
    }

    const Sizes& sizes() const { return sizes_; }
    const Weights& weights() const { return weights_; }

    Moment largest() const {
        Moment most;
        const auto consider = [&](Moment moment) {
            moment.activations += inputs_;
            if (moment.total() > most.total()) most = moment;
        };
        if (cell_.pass_type == PassType::forward) {
            consider(forward_blocks(0));
            consider(forward_end());
            return most;
        }
        if (cell_.activation_checkpointing)
            consider(forward_blocks(fp32_bytes * sizes_.stream * sizes_.layers));
        consider(loss());
        consider(output_projection());
        consider(final_norm());
        for (const double block : {sizes_.layers, 1.0}) {
            if (fused_) consider(activation(block));
            consider(feed_forward(block));
            consider(attention(block));
            if (fused_) consider(projections(block));
        }
        consider(backward_end());
        return most;
    }

  private:
    double workspaces() const {
        return cell_.pass_type == PassType::forward ? cublas_workspace : 2 * cublas_workspace;
    }
    double element() const { return bf16_ ? bf16_bytes : fp32_bytes; }
    double gradient(double elements) const { return fp32_bytes * elements; }

    /// What the first `count` blocks have left.
    double kept_by(double count) const {
        return one_cast_ +
               count * (cell_.activation_checkpointing ? fp32_bytes * sizes_.stream : block_.kept);
    }

    /// What the blocks up to this one have left when its backward pass begins.
    double kept_at(double block) const {
        return kept_by(block) + (cell_.activation_checkpointing ? block_.kept : 0);
    }

    /// The last block of a forward pass that keeps `kept` and no more. Autocast keeps the casts of
    /// weights until its end.
    Moment forward_blocks(double kept) const {
        const double casts = one_cast_ + sizes_.layers * block_.casts -
                             // While softmax has most, the weights behind it are not cast yet.
                             (block_.casts > 0 && sizes_.scores > sizes_.inner
                                  ? bf16_bytes * (weights_.feed_forward() + weights_.output)
                                  : 0);
        return {0, kept, workspaces() + casts + block_.without_gradients};
    }

    Moment forward_end() const {
        const double casts =
            bf16_ ? bf16_bytes * (sizes_.layers * weights_.block() + weights_.head) : 0;
        const double stream = fused_ ? 4 + element() : 8 + (bf16_ ? bf16_bytes : 0);
        return {0, element() * sizes_.logits, workspaces() + casts + stream * sizes_.stream};
    }

    /// What the final norm and the output projection have left.
    double kept_behind_blocks() const {
        const double cast = bf16_ && !fused_ ? bf16_bytes * weights_.head : 0;
        const double stream = fused_ ? (bf16_ ? 6 : 8) : (bf16_ ? 10 : 12);
        return stream * sizes_.stream + 4 * sizes_.tokens + cast;
    }

    /// The sum keeps nothing. The fused cross entropy keeps the logits, and its gradient takes as
    /// much again. The other keeps the logarithms of the probabilities, under autocast once more in
    /// fp32, and its gradient takes as much again; in fp32 so does the next.
    Moment loss() const {
        const double kept = kept_by(sizes_.layers) + kept_behind_blocks();
        if (cell_.pass_type == PassType::forward_backward)
            return {0, kept, workspaces() + element() * sizes_.logits};
        const double logits = element() * sizes_.logits;
        if (fused_) return {0, kept + logits, workspaces() + logits};
        if (bf16_) return {0, kept + 6 * sizes_.logits, workspaces() + 4 * sizes_.logits};
        return {0, kept + 4 * sizes_.logits, workspaces() + 8 * sizes_.logits};
    }

    /// Its gradient is written while that of the logits is there.
    Moment output_projection() const {
        const double kept = kept_by(sizes_.layers) + kept_behind_blocks();
        const double work = workspaces() + element() * sizes_.logits;
        if (bf16_ && !fused_) return {0, kept, work + bf16_bytes * (sizes_.stream + weights_.head)};
        return {gradient(weights_.head), kept, work + element() * sizes_.stream};
    }

    /// Autograd still holds the reference's bf16 gradient of the output projection beside the fp32
    /// one.
    Moment final_norm() const {
        if (fused_)
            return {gradient(weights_.head), kept_by(sizes_.layers) + 4 * sizes_.stream,
                    workspaces() + 8 * sizes_.stream};
        const double second = bf16_ && !fused_ ? bf16_bytes * weights_.head : 0;
        return {gradient(weights_.head), kept_by(sizes_.layers) + 8 * sizes_.stream,
                workspaces() + second + 4 * sizes_.stream};
    }

    /// Gradients of all that lies behind `block`, counted from 1.
    double gradients_behind(double block) const {
        return gradient(weights_.head + (sizes_.layers - block) * weights_.block());
    }

    /// Of the product behind silu, by fused kernels.
    Moment activation(double block) const {
        return {gradients_behind(block), kept_at(block),
                workspaces() + block_.activation_workspace};
    }

    Moment feed_forward(double block) const {
        // The fused operation has all three gradients before it ends, the other its last first.
        const double own = fused_ ? weights_.feed_forward() : weights_.down;
        return {gradients_behind(block) + gradient(own), kept_at(block) - block_.feed_forward_freed,
                workspaces() + block_.feed_forward_workspace};
    }

    Moment attention(double block) const {
        const double own = weights_.feed_forward() + weights_.output;
        return {gradients_behind(block) + gradient(own), kept_at(block) - block_.attention_freed,
                workspaces() + block_.attention_workspace};
    }

    /// Of queries, keys and values, by fused kernels.
    Moment projections(double block) const {
        return {gradients_behind(block) + gradient(weights_.block()),
                kept_at(block) - block_.projections_freed,
                workspaces() + block_.projections_workspace};
    }

    /// Only the embedding's gradient was left; with AdamW the update follows, which takes no more.
    Moment backward_end() const {
        return {like_parameters(sizes_), 0, workspaces() + fp32_bytes * sizes_.stream};
    }

    const Cell& cell_;
    Sizes sizes_;
    Weights weights_;
    BlockMemory block_;
    bool bf16_;
    bool fused_;
    double one_cast_ = 0;  ///< of all weights in one tensor
    double inputs_ = 0;    ///< tokens and targets
};

std::int64_t bytes(double value) {
    constexpr double most = 1LL << 60;
    return static_cast<std::int64_t>(std::clamp(value, 0.0, most));
}

}  // namespace

MemoryPrediction predict_memory(const Cell& cell) {
    const Moments moments(cell);
    const Moment most = moments.largest();
    const double optimizer =
        cell.pass_type == PassType::train_step ? 2 * like_parameters(moments.sizes()) : 0;
    return {bytes(parameters_and_buffers(cell, moments.sizes(), moments.weights())),
            bytes(most.gradients), bytes(optimizer), bytes(most.activations),
            bytes(most.workspace)};
}

}  // namespace isosweep
