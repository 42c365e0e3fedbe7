#include <isosweep/benchmark.h>
#include <isosweep/statistics.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

#include <array>
#include <chrono>
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

/// The marks around the parts of one step: one before the first, one behind each.
std::vector<Mark> marks_for(const Step& step) {
    std::vector<Mark> marks;
    for (std::size_t i = 0; i <= step.parts().size(); ++i) marks.emplace_back(step.device());
    return marks;
}

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

/// Times one step. Between the two readings of the clock nothing is allocated, printed or read back
/// by us: the marks and the room for the result are there, elapsed times are asked for afterwards.
double timed_step(Step& step, std::vector<Mark>& marks, bool sync, RunningPart& running) {
    const auto start = Clock::now();
    marks[0].set();
    for (std::size_t part = 0; part < step.parts().size(); ++part) {
        running.name = step.parts()[part];
        step.run(part);
        marks[part + 1].set();
    }
    running.name = {};
    if (sync) synchronize(step.device());
    return ms_between(start, Clock::now());
}

PhaseTimes phase_times(const Step& step, const std::vector<std::vector<Mark>>& marks) {
    PhaseTimes times;
    const std::array all = {&times.forward, &times.backward, &times.optimizer};
    for (const auto& of_step : marks)
        for (std::size_t part = 0; part < step.parts().size(); ++part)
            all[part]->push_back(of_step[part].ms_until(of_step[part + 1]));
    return times;
}

BenchmarkResult time_steps(Step& step, const BenchmarkOptions& options, RunningPart& running) {
    const auto warmup = static_cast<std::size_t>(options.warmup_steps.steps);
    const auto measured = static_cast<std::size_t>(options.measure_steps.steps);
    BenchmarkResult result;
    result.warmup_ms.reserve(warmup);
    result.samples_ms.reserve(measured);
    std::vector<Mark> warmup_marks = marks_for(step);
    std::vector<std::vector<Mark>> marks;
    for (std::size_t i = 0; i < measured; ++i) marks.push_back(marks_for(step));

    SignOfLife life(options.on_phase);
    // Gradients are set to none before each step and outside of its time, as the peer in Python
    // does: a step that adds to gradients would be another one than the first.
    if (warmup > 0) life.enter("warmup");
    for (std::size_t i = 0; i < warmup; ++i) {
        step.prepare();
        if (options.sync) synchronize(step.device());
        result.warmup_ms.push_back(timed_step(step, warmup_marks, options.sync, running));
        life.still();
    }
    life.enter("measure");
    for (std::size_t i = 0; i < measured; ++i) {
        step.prepare();
        if (options.sync || i == 0) synchronize(step.device());
        result.samples_ms.push_back(timed_step(step, marks[i], options.sync, running));
        life.still();
    }
    synchronize(step.device());
    result.phases_ms = phase_times(step, marks);

    const auto statistics = summarize(result.samples_ms);
    result.mean_ms = statistics->mean;
    result.std_ms = statistics->population_std;
    result.loss = step.loss();
    return result;
}

}  // namespace

BenchmarkResult benchmark(Transformer model, const torch::Tensor& input_ids, PassType pass_type,
                          const BenchmarkOptions& options, RunningPart& running) {
    if (options.warmup_steps.steps < 0)
        throw std::invalid_argument("warmup_steps must be at least 0");
    if (options.measure_steps.steps < 1)
        throw std::invalid_argument("measure_steps must be at least 1");
    torch::Tensor targets;
    if (pass_type == PassType::train_step)
        targets = torch::randint(model->config().vocab_size, input_ids.sizes(),
                                 torch::dtype(torch::kLong).device(input_ids.device()));
    const MatmulPrecision matmul_precision(options.precision);
    Step step(std::move(model), input_ids, std::move(targets), pass_type, options.precision);
    return time_steps(step, options, running);
}

torch::Tensor generate_random_batch(std::int64_t batch_size, std::int64_t context_length,
                                    std::int64_t vocab_size, torch::Device device) {
    return torch::randint(vocab_size, {batch_size, context_length},
                          torch::dtype(torch::kLong).device(device));
}

BenchmarkResult benchmark_forward(Transformer model, const torch::Tensor& input_ids,
                                  const BenchmarkOptions& options) {
    RunningPart running;
    return benchmark(std::move(model), input_ids, PassType::forward, options, running);
}

BenchmarkResult benchmark_forward_backward(Transformer model, const torch::Tensor& input_ids,
                                           const BenchmarkOptions& options) {
    RunningPart running;
    return benchmark(std::move(model), input_ids, PassType::forward_backward, options, running);
}

BenchmarkResult benchmark_train_step(Transformer model, const torch::Tensor& input_ids,
                                     const BenchmarkOptions& options) {
    RunningPart running;
    return benchmark(std::move(model), input_ids, PassType::train_step, options, running);
}

}  // namespace isosweep
