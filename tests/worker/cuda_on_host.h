#pragma once

// Stands in for CUDA's language, so that the sources of kernels compile and run as C++: included
// before them, once. Blocks run one after the other; a block's threads are fibers that take turns
// at what they wait for each other at (barriers, shuffles, ballots). What is shared by a block is
// static.

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): CUDA's names
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)
#define KERNEL inline void

namespace {

struct Index {
    unsigned int x = 0;
    unsigned int y = 0;
};
Index threadIdx;
Index blockIdx;
Index blockDim;
Index gridDim;

/// The block that runs.
class Block {
  public:
    Block(std::size_t threads, const std::function<void()>& kernel)
        : kernel_(kernel), threads_(threads), warps_((threads + 31) / 32) {
        current_ = this;
        // Kept from block to block: fresh ones would have to be paged in.
        static std::vector<std::unique_ptr<char[]>> stacks;
        while (stacks.size() < threads) stacks.push_back(std::make_unique<char[]>(stack_bytes));
        all_.members = static_cast<int>(threads);
        for (std::size_t i = 0; i < threads; ++i) {
            ucontext_t& context = threads_[i].context;
            ::getcontext(&context);
            context.uc_stack.ss_sp = stacks[i].get();
            context.uc_stack.ss_size = stack_bytes;
            context.uc_link = &scheduler_;
            ::makecontext(&context, run_thread, 0);
            ++warps_[i / 32].members;
        }
    }

    /// Lets every thread run in turn to where it waits, until all have ended. In every other block
    /// the last one comes first, so that a barrier that is missing shows.
    void run() {
        const bool is_backwards = blockIdx.x % 2 == 1;
        for (bool some_left = true; some_left;) {
            some_left = false;
            for (std::size_t turn = 0; turn < threads_.size(); ++turn) {
                const std::size_t i = is_backwards ? threads_.size() - 1 - turn : turn;
                if (threads_[i].has_ended) continue;
                some_left = true;
                threadIdx.x = static_cast<unsigned int>(i);
                ::swapcontext(&scheduler_, &threads_[i].context);
            }
        }
    }

    static Block& current() { return *current_; }

    void wait_for_all() { wait(all_); }

    /// Each thread of a warp gives a value and gets all of them.
    const std::uint32_t* exchange(std::uint32_t value) {
        Warp& warp = warps_[threadIdx.x / 32];
        // Two sets by turns: a thread that is ahead does not overwrite what others still read.
        std::uint32_t* const values = warp.values[thread().exchanges++ % 2];
        values[threadIdx.x % 32] = value;
        wait(warp);
        return values;
    }

  private:
    static constexpr std::size_t stack_bytes = std::size_t{32} << 10;

    struct Thread {
        ucontext_t context{};  // points into itself, so stays where it is
        unsigned int exchanges = 0;
        bool has_ended = false;
    };
    struct Barrier {
        int members = 0;
        int waiting = 0;
        unsigned int round = 0;

        void release_if_complete() {
            if (waiting < members) return;
            waiting = 0;
            ++round;
        }
    };
    struct Warp : Barrier {
        std::uint32_t values[2][32] = {};
    };

    static void run_thread() {
        Block& block = current();
        block.kernel_();
        // Who has ended is not waited for.
        for (Barrier* barrier :
             {&block.all_, static_cast<Barrier*>(&block.warps_[threadIdx.x / 32])}) {
            --barrier->members;
            if (barrier->waiting > 0) barrier->release_if_complete();
        }
        block.thread().has_ended = true;
    }

    Thread& thread() { return threads_[threadIdx.x]; }

    void wait(Barrier& barrier) {
        const unsigned int round = barrier.round;
        ++barrier.waiting;
        barrier.release_if_complete();
        while (barrier.round == round) ::swapcontext(&thread().context, &scheduler_);
    }

    static inline Block* current_ = nullptr;
    const std::function<void()>& kernel_;
    ucontext_t scheduler_{};
    std::vector<Thread> threads_;
    Barrier all_;
    std::vector<Warp> warps_;
};

inline void __syncthreads() { Block::current().wait_for_all(); }

inline float __shfl_xor_sync(unsigned int, float value, int distance) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    bits =
        Block::current().exchange(bits)[(threadIdx.x % 32) ^ static_cast<unsigned int>(distance)];
    std::memcpy(&value, &bits, sizeof bits);
    return value;
}

inline unsigned int __ballot_sync(unsigned int, bool vote) {
    const std::uint32_t* const votes = Block::current().exchange(vote ? 1 : 0);
    unsigned int ballot = 0;
    for (unsigned int lane = 0; lane < 32; ++lane) ballot |= votes[lane] << lane;
    return ballot;
}

inline int __popc(unsigned int bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

[[noreturn]] inline void __trap() { std::abort(); }

}  // namespace
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
