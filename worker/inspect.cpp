#include "inspect.h"

#include <fcntl.h>
#include <isosweep/benchmark.h>
#include <isosweep/statistics.h>
#include <kineto/ActivityType.h>
#include <torch/csrc/autograd/generated/variable_factories.h>
#include <torch/csrc/autograd/profiler_kineto.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>
#include <vector>

#include "backward_ranges.h"
#include "breakdown.h"
#include "cell_setup.h"
#include "device.h"
#include "errors.h"
#include "host.h"
#include "precision.h"
#include "region.h"
#include "step.h"
#include "tracing.h"

namespace isosweep {
namespace {

namespace json = boost::json;
namespace profiler = torch::autograd::profiler;
using Clock = std::chrono::steady_clock;
using torch::profiler::impl::ActivityType;

constexpr std::int64_t automatic_warmup_steps = 5;
constexpr std::int64_t automatic_measure_steps = 10;

/// Makes the file, or empties it, so that a wrong path is told before any work.
void make_file(const char* flag, const std::string& path) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        throw UsageError(std::string(flag) + " " + path +
                         ": cannot be written: " + std::strerror(errno));
    ::close(fd);
}

/// Where an exception came from.
struct Place {
    std::string_view phase = "build";
    std::string_view part;  ///< of the step that is running

    std::string_view name() const { return part.empty() ? phase : part; }
};

/// The cell's step, built as it is for a measurement.
Step build_step(const Cell& cell, torch::Device device) {
    CellSetup setup = build_cell(cell, device);
    torch::Tensor targets;
    if (cell.pass_type == PassType::train_step)
        targets =
            generate_random_batch(cell.batch_size, cell.context_length, cell.vocab_size, device);
    return {std::move(setup.model), std::move(setup.ids), std::move(targets), cell.pass_type,
            cell.precision};
}

/// One step, from an idle device until it is idle again. \returns milliseconds
double run_step(Step& step, Place& place) {
    const bool on_cuda = step.device().is_cuda();
    step.prepare();
    if (on_cuda) cuda::synchronize();
    const Region region(step_region);
    const auto start = Clock::now();
    for (std::size_t part = 0; part < step.parts().size(); ++part) {
        place.part = step.parts()[part];
        step.run(part);
    }
    if (on_cuda) cuda::synchronize();
    place.part = {};
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct ProfiledStep {
    double ms = 0;
    std::unique_ptr<profiler::ProfilerResult> result;
};

ProfiledStep profile_step(Step& step, Place& place) {
    const torch::profiler::impl::ProfilerConfig config(
        torch::profiler::impl::ProfilerState::KINETO);
    std::set<ActivityType> activities{ActivityType::CPU};
    if (step.device().is_cuda())
        activities.insert(ActivityType::CUDA);
    else
        ::setenv("KINETO_LOG_LEVEL", "99", /*overwrite=*/0);  // it complains of GPUs not asked for
    // The first step under the profiler pays for its buffers.
    profiler::prepareProfiler(config, activities);
    run_step(step, place);
    const RegionRecording regions;
    profiler::enableProfiler(config, activities);
    ProfiledStep profiled;
    try {
        profiled.ms = run_step(step, place);
    } catch (...) {
        profiler::disableProfiler();
        throw;
    }
    profiled.result = profiler::disableProfiler();
    return profiled;
}

std::vector<ProfileEvent> plain_events(const profiler::ProfilerResult& result) {
    using Kind = ProfileEvent::Kind;
    std::vector<ProfileEvent> events;
    for (const profiler::KinetoEvent& event : result.events()) {
        ProfileEvent plain{.name = event.name(),
                           .start_ns = static_cast<std::int64_t>(event.startNs()),
                           .end_ns = static_cast<std::int64_t>(event.endNs()),
                           .thread = event.startThreadId(),
                           .correlation = event.correlationId(),
                           .sequence = event.sequenceNr(),
                           .forward_thread = event.fwdThreadId()};
        switch (static_cast<libkineto::ActivityType>(event.activityType())) {
            case libkineto::ActivityType::CPU_OP:
                // The engine's own events stand around the nodes that it runs.
                plain.kind = plain.forward_thread != 0 || plain.name.starts_with("autograd::")
                                 ? Kind::backward_node
                                 : Kind::operation;
                break;
            case libkineto::ActivityType::USER_ANNOTATION:
                plain.kind = Kind::region;
                break;
            case libkineto::ActivityType::CONCURRENT_KERNEL:
                plain.kind = Kind::kernel;
                plain.correlation = event.linkedCorrelationId();
                break;
            case libkineto::ActivityType::GPU_MEMCPY:
            case libkineto::ActivityType::GPU_MEMSET:
                plain.kind = Kind::memory;
                plain.correlation = event.linkedCorrelationId();
                break;
            default:
                continue;
        }
        events.push_back(std::move(plain));
    }
    return events;
}

json::object breakdown_of(const Cell& cell, Step& step, Place& place) {
    std::vector<double> usual;
    const auto steps =
        cell.measure_steps.is_automatic() ? automatic_measure_steps : cell.measure_steps.steps;
    for (std::int64_t i = 0; i < steps; ++i) usual.push_back(run_step(step, place));
    const ProfiledStep profiled = profile_step(step, place);
    const Breakdown breakdown = break_down(plain_events(*profiled.result), step.device().is_cuda());
    json::object object = to_json(breakdown);
    object["step_ms"] = profiled.ms;
    object["unprofiled_step_ms"] = summarize(usual)->median;
    return object;
}

void write_trace(const std::string& path, Step& step, Place& place) {
    profile_step(step, place).result->save(path);
    // It only logs what goes wrong.
    std::error_code ignored;
    if (const auto size = std::filesystem::file_size(path, ignored); ignored || size == 0)
        throw std::runtime_error(path + ": Torch's profiler could not write its trace");
}

void write_memory_snapshot(const std::string& path, Step& step, Place& place) {
    cuda::start_memory_history();
    try {
        run_step(step, place);
    } catch (...) {
        cuda::stop_memory_history();
        throw;
    }
    const std::string snapshot = cuda::memory_snapshot();
    cuda::stop_memory_history();
    std::ofstream file(path, std::ios::binary);
    file << snapshot << std::flush;
    if (!file) throw std::runtime_error(path + ": cannot be written");
}

/// A step for NVIDIA's profilers, which are told when it begins and ends.
void run_for_profilers(Step& step, Place& place) {
    const RegionRecording regions;
    const BackwardRanges backward;
    if (!step.device().is_cuda()) {
        run_step(step, place);
        return;
    }
    cuda::synchronize();
    cuda::start_profiler();
    run_step(step, place);
    cuda::stop_profiler();
}

json::object look_inside(const Cell& cell, const Inspection& inspection, torch::Device device,
                         Place& place) {
    enter_device(cell, device);
    json::object found{
        {"num_params", num_params(model_config(cell))},
        {"device", device.is_cuda() ? "cuda" : "cpu"},
        {"device_name", device.is_cuda() ? cuda::properties().name : host::cpu_name()}};
    const MatmulPrecision matmul_precision(cell.precision);
    Step step = build_step(cell, device);
    place.phase = "warmup";
    const auto warmup =
        cell.warmup_steps.is_automatic() ? automatic_warmup_steps : cell.warmup_steps.steps;
    cuda::push_range("warm-up");
    for (std::int64_t i = 0; i < warmup; ++i) run_step(step, place);
    cuda::pop_range();
    if (inspection.breakdown) {
        place.phase = "breakdown";
        found["breakdown"] = breakdown_of(cell, step, place);
    }
    if (!inspection.trace.empty()) {
        place.phase = "trace";
        write_trace(inspection.trace, step, place);
        found["trace"] = inspection.trace;
    }
    if (!inspection.memory_snapshot.empty()) {
        place.phase = "memory snapshot";
        write_memory_snapshot(inspection.memory_snapshot, step, place);
        found["memory_snapshot"] = inspection.memory_snapshot;
    }
    if (inspection.profile) {
        place.phase = "profile";
        run_for_profilers(step, place);
        found["profile"] = cuda::has_ranges()
                               ? "one step with NVTX ranges"
                               : "one step without NVTX ranges, which this build lacks";
    }
    return found;
}

/// The cell that is looked at in place of this one: kernels of a graph have no operations.
Cell without_graph(Cell cell) {
    cell.cuda_graph = false;
    return cell;
}

}  // namespace

CellResult inspect(const Cell& cell, const Inspection& inspection) {
    if (!inspection.trace.empty()) make_file("--trace", inspection.trace);
    if (!inspection.memory_snapshot.empty())
        make_file("--memory-snapshot", inspection.memory_snapshot);
    Place place;
    bool on_cuda = false;
    CellResult result;
    const auto fail = [&](Failure failure) {
        result.status = failure.status;
        result.error = std::move(failure.error);
    };
    try {
        if (const auto reason = unsupported_reason(without_graph(cell)); !reason.empty())
            throw Unsupported(reason);
        const torch::Device device = device_of(without_graph(cell));
        on_cuda = device.is_cuda();
        if (!on_cuda && !inspection.memory_snapshot.empty())
            throw Unsupported("--memory-snapshot needs a CUDA device: it shows its allocator");
        result.measurement = look_inside(without_graph(cell), inspection, device, place);
        if (cell.cuda_graph)
            result.measurement["note"] =
                "the step without its CUDA graph, whose replay has no operations to look at";
    } catch (const Unsupported& problem) {
        fail({Status::unsupported, {{"phase", place.name()}, {"message", problem.what()}}});
    } catch (...) {
        fail(describe_failure(std::current_exception(), place.name(), on_cuda));
    }
    return result;
}

}  // namespace isosweep
