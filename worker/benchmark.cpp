#include <isosweep/benchmark.h>
#include <isosweep/statistics.h>
#include <time.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "device.h"
#include "precision.h"
#include "step.h"
#include "timing.h"

namespace isosweep {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

double ms_between(Clock::time_point from, Clock::time_point to) {
    return Milliseconds(to - from).count();
}

void synchronize(torch::Device device) {
    if (device.is_cuda()) cuda::synchronize();  // a CPU is done when the call returns
}

/// A point in time on the device's own time line, made ahead so that setting it allocates nothing.
class Mark {
  public:
    explicit Mark(torch::Device device) {
        if (device.is_cuda()) event_.emplace();
    }

    void set() {
        if (event_)
            event_->record();
        else
            time_ = Clock::now();
    }

    double ms_until(const Mark& later) const {
        return event_ ? event_->ms_until(*later.event_) : ms_between(time_, later.time_);
    }

  private:
    std::optional<cuda::Event> event_;
    Clock::time_point time_;
};

/// Tells what the benchmark does now: at once when that changes, else at most once a second.
class SignOfLife {
  public:
    explicit SignOfLife(const std::function<void(std::string_view)>& tell) : tell_(tell) {}

    void enter(std::string_view phase) {
        phase_ = phase;
        say();
    }
    void still() {
        if (Clock::now() - said_ >= std::chrono::seconds(1)) say();
    }

  private:
    void say() {
        if (tell_) tell_(phase_);
        said_ = Clock::now();
    }

    const std::function<void(std::string_view)>& tell_;
    std::string_view phase_;
    Clock::time_point said_;
};

/// Seconds of CPU time that this process has used, in milliseconds.
double cpu_time_ms() {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

/// A step as the benchmark starts it: part by part, or all of it as a CUDA graph.
class Launch {
  public:
    Launch(Step& step, RunningPart& running) : step_(step), running_(running) {}

    /// From here on the step is a graph. \returns what its memory held, if `watch`
    std::optional<MemoryLedger> capture(bool watch) {
        step_.prepare();
        step_.rehearse();
        cuda::synchronize();
        cuda::release_cache();  // the graph's memory is its own: what the rehearsal had would idle
        for (std::size_t i = 0; i + 1 < step_.parts().size(); ++i)
            inner_.emplace_back(step_.device());
        cuda::reset_peak_memory();
        std::optional<MemoryWatch> watching;
        if (watch) watching.emplace(step_);
        graph_.emplace();
        graph_->capture([&] {
            run_parts(watching ? &*watching : nullptr, [&](std::size_t part) {
                if (part < inner_.size()) inner_[part].set();
            });
        });
        return watching ? std::optional(watching->finish()) : std::nullopt;
    }

    bool is_graph() const { return graph_.has_value(); }

    /// The marks around and between the parts of a step.
    std::vector<Mark> marks() const {
        std::vector<Mark> all;
        for (std::size_t i = 0; i <= step_.parts().size(); ++i) all.emplace_back(step_.device());
        return all;
    }

    /// Drops what the step before left. A graph keeps its memory and writes it anew.
    void prepare() {
        if (!graph_) step_.prepare();
    }

    /// Enqueues the step. Nothing is allocated, printed or read back by us.
    void start(std::vector<Mark>& marks, MemoryWatch* watch = nullptr) {
        marks.front().set();
        if (graph_) {
            graph_->replay();
            marks.back().set();
        } else {
            run_parts(watch, [&](std::size_t part) { marks[part + 1].set(); });
        }
    }

    /// Adds the times of a step that is done. `gpu_ms` gets the whole.
    void read(const std::vector<Mark>& marks, PhaseTimes& phases,
              std::vector<double>* gpu_ms) const {
        const std::array all = {&phases.forward, &phases.backward, &phases.optimizer};
        const auto mark = [&](std::size_t i) -> const Mark& {
            return graph_ && i > 0 && i < step_.parts().size() ? inner_[i - 1] : marks[i];
        };
        for (std::size_t part = 0; part < step_.parts().size(); ++part)
            all[part]->push_back(mark(part).ms_until(mark(part + 1)));
        if (gpu_ms) gpu_ms->push_back(marks.front().ms_until(marks.back()));
    }

  private:
    template <class After>
    void run_parts(MemoryWatch* watch, const After& after) {
        for (std::size_t part = 0; part < step_.parts().size(); ++part) {
            running_.name = step_.parts()[part];
            step_.run(part);
            if (part == 0 && watch) watch->forward_ended();
            after(part);
        }
        running_.name = {};
    }

    Step& step_;
    RunningPart& running_;
    std::optional<cuda::Graph> graph_;
    std::vector<Mark> inner_;  ///< between the parts of a graph, set by each replay
};

/// One benchmark, from the first step to the last.
class Benchmark {
  public:
    Benchmark(Step& step, const BenchmarkOptions& options, const Instruments& instruments,
              RunningPart& running, Observations& seen)
        : step_(step),
          options_(options),
          instruments_(instruments),
          seen_(seen),
          launch_(step, running),
          life_(options.on_phase),
          on_gpu_(step.device().is_cuda()) {}

    BenchmarkResult run() {
        seen_.timer_floor_ms = timer_floor_ms();
        if (on_gpu_) {
            seen_.memory.emplace();
            cuda::reset_peak_memory();
        }
        if (options_.cuda_graph) capture();
        warm_up();
        measure();
        extra_passes();

        const auto statistics = summarize(result_.samples_ms);
        result_.mean_ms = statistics->mean;
        result_.std_ms = statistics->population_std;
        result_.loss = step_.loss();
        return std::move(result_);
    }

  private:
    struct Times {
        double wall_ms = 0;
        double enqueue_ms = 0;
        double cpu_ms = 0;
    };

    /// Times one step. Between the two readings of the clock nothing is allocated, printed or read
    /// back by us: the marks and the room for the result are there, elapsed times are asked for
    /// afterwards.
    Times timed_step(std::vector<Mark>& marks, MemoryWatch* watch = nullptr) {
        const double cpu_start = cpu_time_ms();
        const auto start = Clock::now();
        launch_.start(marks, watch);
        const auto enqueued = Clock::now();
        if (options_.sync) synchronize(step_.device());
        const auto end = Clock::now();
        return {.wall_ms = ms_between(start, end),
                .enqueue_ms = ms_between(start, enqueued),
                .cpu_ms = cpu_time_ms() - cpu_start};
    }

    /// What a step costs that does nothing.
    double timer_floor_ms() const {
        constexpr std::size_t steps = 200;
        std::array marks = {Mark(step_.device()), Mark(step_.device())};
        std::vector<double> times;
        times.reserve(steps);
        synchronize(step_.device());
        for (std::size_t i = 0; i < steps; ++i) {
            const auto start = Clock::now();
            for (Mark& mark : marks) mark.set();
            synchronize(step_.device());
            times.push_back(ms_between(start, Clock::now()));
        }
        return summarize(times)->median;
    }

    void capture() {
        const auto start = Clock::now();
        life_.enter("capture");
        seen_.ledger = launch_.capture(instruments_.passes.memory);
        synchronize(step_.device());
        seen_.memory->first_step_peak = cuda::memory().peak_allocated;
        seen_.capture_ms = ms_between(start, Clock::now());
    }

    /// A step may be the first one: its peak is another one than that of the later steps.
    void after_step() {
        if (!on_gpu_ || seen_.memory->first_step_peak != 0) return;
        if (!options_.sync) synchronize(step_.device());
        seen_.memory->first_step_peak = cuda::memory().peak_allocated;
        if (options_.measure_steps.steps != 1 || options_.warmup_steps.steps != 0)
            cuda::reset_peak_memory();
    }

    void warm_up() {
        const std::int64_t steps = options_.warmup_steps.steps;
        const bool automatic = options_.warmup_steps.is_automatic();
        if (steps == 0) return;
        if (!automatic) result_.warmup_ms.reserve(static_cast<std::size_t>(steps));
        std::vector<Mark> marks = launch_.marks();
        std::vector<std::int64_t> allocations;
        double elapsed_ms = 0;
        // Gradients are set to none before each step and outside of its time, as the peer in Python
        // does: a step that adds to gradients would be another one than the first.
        life_.enter("warmup");
        for (std::int64_t i = 0; automatic || i < steps; ++i) {
            launch_.prepare();
            if (options_.sync) synchronize(step_.device());
            // The second step is the first that has the optimizer's state from the beginning, and
            // is no measured one: the log of its allocations costs no step of its own.
            const bool watch = i == 1 && wants_ledger();
            result_.warmup_ms.push_back(watch ? watched_step(marks) : timed_step(marks).wall_ms);
            after_step();
            life_.still();
            if (!automatic) continue;
            elapsed_ms += result_.warmup_ms.back();
            if (on_gpu_) allocations.push_back(cuda::allocator_counts().device_allocations);
            const bool steady = warmup_is_steady(result_.warmup_ms, allocations, elapsed_ms);
            if (!steady && !warmup_must_stop(result_.warmup_ms, elapsed_ms)) continue;
            result_.warmup_steady = steady;
            return;
        }
    }

    bool wants_ledger() const { return on_gpu_ && instruments_.passes.memory && !seen_.ledger; }

    double watched_step(std::vector<Mark>& marks) {
        MemoryWatch watch(step_);
        const double wall_ms = timed_step(marks, &watch).wall_ms;
        synchronize(step_.device());
        seen_.ledger = watch.finish();
        return wall_ms;
    }

    void measure() {
        const bool automatic = options_.measure_steps.is_automatic();
        const auto planned = static_cast<std::size_t>(automatic ? 0 : options_.measure_steps.steps);
        for (auto* series : {&result_.samples_ms, &result_.enqueue_ms, &result_.cpu_ms})
            series->reserve(planned);
        // Steps that are not waited for keep their marks until the end.
        std::vector<std::vector<Mark>> marks;
        for (std::size_t i = 0; i < (options_.sync || launch_.is_graph() ? 1 : planned); ++i)
            marks.push_back(launch_.marks());

        life_.enter("measure");
        if (instruments_.measure_begins) instruments_.measure_begins();
        const auto before = on_gpu_ ? cuda::allocator_counts() : cuda::AllocatorCounts{};
        double elapsed_ms = 0;
        for (std::size_t i = 0; automatic || i < planned; ++i) {
            if (i >= marks.size() && !options_.sync && !launch_.is_graph())
                marks.push_back(launch_.marks());
            std::vector<Mark>& of_step = marks[std::min(i, marks.size() - 1)];
            launch_.prepare();
            if (options_.sync || i == 0) synchronize(step_.device());
            const Times times = timed_step(of_step);
            keep(times);
            if (options_.sync) read(of_step);
            after_step();
            life_.still();
            if (!automatic) continue;
            elapsed_ms += times.wall_ms;
            result_.stop_reason = should_stop(result_.samples_ms, elapsed_ms);
            if (result_.stop_reason) break;
        }
        synchronize(step_.device());
        if (!options_.sync && !launch_.is_graph())
            for (const std::vector<Mark>& of_step : marks) read(of_step);
        if (instruments_.measure_ended) instruments_.measure_ended();
        if (!on_gpu_) return;
        const auto after = cuda::allocator_counts();
        seen_.memory->device_allocations = after.device_allocations - before.device_allocations;
        seen_.memory->retries = after.retries - before.retries;
        seen_.memory->at_end = cuda::memory();
    }

    void keep(const Times& times) {
        result_.samples_ms.push_back(times.wall_ms);
        if (!on_gpu_) {
            result_.cpu_ms.push_back(times.cpu_ms);
            return;
        }
        result_.enqueue_ms.push_back(times.enqueue_ms);
        if (options_.sync) result_.drain_ms.push_back(times.wall_ms - times.enqueue_ms);
    }

    void read(const std::vector<Mark>& marks) {
        launch_.read(marks, result_.phases_ms, on_gpu_ ? &result_.gpu_ms : nullptr);
    }

    void extra_passes() {
        if (wants_ledger()) {  // where there was no second step to warm up
            life_.enter("memory");
            std::vector<Mark> marks = launch_.marks();
            step_.prepare();
            watched_step(marks);
        }
        if (instruments_.passes.pipelined || instruments_.passes.energy) pipelined_pass();
    }

    /// Steps that are enqueued one behind the other, with one wait at the end.
    void pipelined_pass() {
        const bool energy = instruments_.passes.energy && instruments_.energy_j;
        // The energy counter moves in steps of some 100 ms.
        const double least_ms = energy ? 2'500 : 500;
        const double step_ms = summarize(result_.samples_ms)->median;
        const auto steps = std::clamp<std::int64_t>(
            static_cast<std::int64_t>(std::ceil(least_ms / step_ms)), 5, 100'000);
        life_.enter(energy ? "energy" : "pipelined");
        std::vector<Mark> marks = launch_.marks();
        launch_.prepare();
        synchronize(step_.device());
        const auto energy_before = energy ? instruments_.energy_j() : std::nullopt;
        const auto start = Clock::now();
        for (std::int64_t i = 0; i < steps; ++i) {
            launch_.prepare();
            launch_.start(marks);
        }
        synchronize(step_.device());
        const double all_ms = ms_between(start, Clock::now());
        const auto energy_after = energy ? instruments_.energy_j() : std::nullopt;
        seen_.pipelined = {
            .steps = steps, .ms_per_step = all_ms / static_cast<double>(steps), .energy_j = {}};
        if (energy_before && energy_after)
            seen_.pipelined->energy_j = *energy_after - *energy_before;
    }

    Step& step_;
    const BenchmarkOptions& options_;
    const Instruments& instruments_;
    Observations& seen_;
    Launch launch_;
    SignOfLife life_;
    bool on_gpu_;
    BenchmarkResult result_;
};

}  // namespace

BenchmarkResult benchmark(Transformer model, const torch::Tensor& input_ids, PassType pass_type,
                          const BenchmarkOptions& options, const Instruments& instruments,
                          RunningPart& running, Observations& seen) {
    if (options.warmup_steps.steps < 0 && !options.warmup_steps.is_automatic())
        throw std::invalid_argument("warmup_steps must be at least 0");
    if (options.measure_steps.steps < 1 && !options.measure_steps.is_automatic())
        throw std::invalid_argument("measure_steps must be at least 1");
    if (options.cuda_graph && !input_ids.is_cuda())
        throw std::invalid_argument("cuda_graph needs a CUDA device");
    torch::Tensor targets;
    if (pass_type == PassType::train_step)
        targets = torch::randint(model->config().vocab_size, input_ids.sizes(),
                                 torch::dtype(torch::kLong).device(input_ids.device()));
    const MatmulPrecision matmul_precision(options.precision);
    Step step(std::move(model), input_ids, std::move(targets), pass_type, options.precision);
    return Benchmark(step, options, instruments, running, seen).run();
}

namespace {

/// The times alone.
BenchmarkResult benchmark(Transformer model, const torch::Tensor& input_ids, PassType pass_type,
                          const BenchmarkOptions& options) {
    RunningPart running;
    Observations seen;
    return isosweep::benchmark(std::move(model), input_ids, pass_type, options, {}, running, seen);
}

}  // namespace

torch::Tensor generate_random_batch(std::int64_t batch_size, std::int64_t context_length,
                                    std::int64_t vocab_size, torch::Device device) {
    return torch::randint(vocab_size, {batch_size, context_length},
                          torch::dtype(torch::kLong).device(device));
}

BenchmarkResult benchmark_forward(Transformer model, const torch::Tensor& input_ids,
                                  const BenchmarkOptions& options) {
    return benchmark(std::move(model), input_ids, PassType::forward, options);
}

BenchmarkResult benchmark_forward_backward(Transformer model, const torch::Tensor& input_ids,
                                           const BenchmarkOptions& options) {
    return benchmark(std::move(model), input_ids, PassType::forward_backward, options);
}

BenchmarkResult benchmark_train_step(Transformer model, const torch::Tensor& input_ids,
                                     const BenchmarkOptions& options) {
    return benchmark(std::move(model), input_ids, PassType::train_step, options);
}

}  // namespace isosweep
