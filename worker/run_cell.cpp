#include "run_cell.h"

#include <ATen/Parallel.h>
#include <isosweep/benchmark.h>
#include <isosweep/build_info.h>
#include <isosweep/nvml.h>
#include <isosweep/protocol.h>
#include <isosweep/quality.h>

#include <boost/json/array.hpp>
#include <chrono>
#include <cmath>
#include <stdexcept>

#include "cell_setup.h"
#include "device.h"
#include "errors.h"
#include "fused.h"
#include "host.h"
#include "operations.h"
#include "timing.h"

namespace isosweep {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

json::array array_of(const std::vector<double>& values) {
    return json::array(values.begin(), values.end());
}

json::object object_of(const PhaseTimes& times) {
    json::object object;
    const auto add = [&](const char* name, const std::vector<double>& series) {
        if (!series.empty()) object[name] = array_of(series);
    };
    add("forward", times.forward);
    add("backward", times.backward);
    add("optimizer", times.optimizer);
    return object;
}

/// Adds a figure, where there is one.
template <class T>
void add(json::object& object, const char* name, const std::optional<T>& figure) {
    if (figure) object[name] = *figure;
}

void add_series(json::object& measurement, const BenchmarkResult& result) {
    measurement["warmup_ms"] = array_of(result.warmup_ms);
    measurement["samples_ms"] = array_of(result.samples_ms);
    measurement["phases_ms"] = object_of(result.phases_ms);
    if (!result.enqueue_ms.empty()) measurement["enqueue_ms"] = array_of(result.enqueue_ms);
    if (!result.drain_ms.empty()) measurement["drain_ms"] = array_of(result.drain_ms);
    if (!result.gpu_ms.empty()) measurement["gpu_ms"] = array_of(result.gpu_ms);
    if (!result.cpu_ms.empty()) measurement["cpu_ms"] = array_of(result.cpu_ms);
    add(measurement, "warmup_steady", result.warmup_steady);
    if (!result.stop_reason) return;
    measurement["converged"] = *result.stop_reason == StopReason::converged;
    measurement["stop_reason"] = to_name(*result.stop_reason);
}

void add_memory(json::object& measurement, const Observations& seen) {
    if (!seen.memory) {
        add(measurement, "peak_resident_bytes", host::peak_resident_bytes());
        return;
    }
    const cuda::Memory& memory = seen.memory->at_end;
    measurement["first_step_peak_allocated_bytes"] = seen.memory->first_step_peak;
    measurement["peak_allocated_bytes"] = memory.peak_allocated;
    measurement["peak_reserved_bytes"] = memory.peak_reserved;
    measurement["fragmentation_bytes"] = memory.peak_reserved - memory.peak_allocated;
    measurement["outside_torch_bytes"] = memory.used - memory.reserved;
    measurement["device_allocs"] = seen.memory->device_allocations;
    measurement["alloc_retries"] = seen.memory->retries;
    if (!seen.ledger) return;
    measurement["parameters_bytes"] = seen.ledger->parameters;
    measurement["gradients_bytes"] = seen.ledger->gradients;
    measurement["optimizer_bytes"] = seen.ledger->optimizer;
    measurement["activations_bytes"] = seen.ledger->activations;
    measurement["workspace_bytes"] = seen.ledger->workspace;
    measurement["rounding_bytes"] = seen.ledger->rounding;
    measurement["ledger_error_bytes"] = seen.ledger->error;
}

void add_passes(json::object& measurement, const Observations& seen) {
    measurement["timer_floor_ms"] = seen.timer_floor_ms;
    if (!seen.pipelined) return;
    measurement["pipelined_steps"] = seen.pipelined->steps;
    measurement["pipelined_ms"] = seen.pipelined->ms_per_step;
    if (!seen.pipelined->energy_j) return;
    measurement["energy_steps"] = seen.pipelined->steps;
    measurement["energy_j"] = *seen.pipelined->energy_j;
}

void add_activity(json::object& measurement, const GpuActivity& activity) {
    add(measurement, "sm_clock_mhz_mean", activity.sm_clock_mean_mhz);
    add(measurement, "sm_clock_mhz_min", activity.sm_clock_min_mhz);
    add(measurement, "memory_clock_mhz", activity.memory_clock_mean_mhz);
    add(measurement, "power_w_mean", activity.power_mean_w);
    add(measurement, "power_w_max", activity.power_max_w);
    add(measurement, "power_limit_w", activity.power_limit_w);
    add(measurement, "temperature_c_max", activity.temperature_max_c);
    add(measurement, "power_capped_fraction", activity.power_capped_fraction);
    if (!activity.reasons) return;
    measurement["throttle_reasons"] = activity.reasons_text();
    measurement["throttled"] = activity.throttled();
}

void add_device(json::object& measurement, torch::Device device) {
    if (device.is_cuda()) {
        const cuda::Properties properties = cuda::properties();
        measurement["device"] = "cuda";
        measurement["device_name"] = properties.name;
        measurement["compute_capability"] = properties.compute_capability;
        measurement["sm_count"] = properties.sm_count;
        measurement["sm_clock_max_mhz"] = properties.sm_clock_max_mhz;
        measurement["cuda_runtime"] = properties.runtime;
        const std::string settings = host::allocator_settings();
        if (!settings.empty()) measurement["allocator_settings"] = settings;
    } else {
        measurement["device"] = "cpu";
        measurement["device_name"] = host::cpu_name();
    }
}

/// What ran in place of the reference's operations.
void add_kernels(json::object& measurement, torch::Device device) {
    const operations::Served served = operations::served(device);
    measurement["kernels_backend"] = served.backend;
    if (!served.origin.empty()) {
        measurement["kernels_origin"] = served.origin;
        measurement["kernels_load_ms"] = served.load_ms;
    }
    if (!served.note.empty()) measurement["kernels_note"] = served.note;
    measurement["attention_backend"] = fused::attention_backend();
}

/// What else the host does, and what slows the program down.
void add_host(json::object& measurement) {
    measurement["cpus"] = host::cpu_count();
    measurement["machine_cpus"] = host::machine_cpu_count();
    measurement["num_threads"] = at::get_num_threads();
    add(measurement, "load_average", host::load_average());
    if (is_debug_build()) measurement["debug_build"] = true;
    if (host::is_launch_blocking()) measurement["launch_blocking"] = true;
}

/// The cell itself. `phase`, `running` and `on_device` (whether the device could be used) are kept
/// up to date for whoever catches what it throws.
json::object measure(const Cell& cell, torch::Device device, std::string_view& phase,
                     RunningPart& running, bool& on_device,
                     const std::function<void(std::string_view)>& on_phase,
                     json::object measurement) {
    const auto start = Clock::now();
    add_host(measurement);  // as it was before this cell
    enter_device(cell, device);
    on_device = true;
    add_device(measurement, device);
    measurement["context_ms"] = ms_since(start);

    const auto build_start = Clock::now();
    const CellSetup setup = build_cell(cell, device);
    if (device.is_cuda()) cuda::synchronize();
    measurement["build_ms"] = ms_since(build_start);

    std::optional<GpuMonitor> monitor;
    GpuActivity activity;
    Instruments instruments{.passes = cell.passes};
    if (device.is_cuda()) {
        monitor.emplace(cuda::properties().uuid);
        instruments.measure_begins = [&] { monitor->start(); };
        instruments.measure_ended = [&] { activity = monitor->stop(); };
        instruments.energy_j = [&] { return monitor->energy_j(); };
    } else {
        host::reset_peak_resident();
    }
    const auto enter = [&](std::string_view name) {
        phase = name;
        on_phase(name);
    };
    Observations seen;
    const BenchmarkResult result = benchmark(setup.model, setup.ids, cell.pass_type,
                                             {.warmup_steps = cell.warmup_steps,
                                              .measure_steps = cell.measure_steps,
                                              .sync = cell.sync,
                                              .cuda_graph = cell.cuda_graph,
                                              .precision = cell.precision,
                                              .on_phase = enter},
                                             instruments, running, seen);
    measurement["loss"] = std::isfinite(result.loss) ? json::value(result.loss) : nullptr;
    add_series(measurement, result);
    add_memory(measurement, seen);
    add_passes(measurement, seen);
    if (cell.cuda_graph) measurement["capture_ms"] = seen.capture_ms;
    if (cell.kernels == Kernels::fused) add_kernels(measurement, device);
    add_activity(measurement, activity);
    if (monitor) add(measurement, "other_gpu_processes", monitor->other_processes());
    measurement["total_ms"] = ms_since(start);
    on_phase("cleanup");  // all is measured: others may use the device
    return measurement;
}

}  // namespace

std::string CellResult::line(std::string_view nonce) const {
    return status == Status::ok ? protocol::ok_line(nonce, measurement, flags)
                                : protocol::failure_line(nonce, status, error);
}

CellResult run_cell(const Cell& cell, const std::function<void(std::string_view)>& on_phase) {
    std::string_view phase = "build";
    RunningPart running;
    bool on_cuda = false;
    bool on_device = false;
    CellResult result;
    const auto where = [&] { return running.name.empty() ? phase : running.name; };
    const auto fail = [&](Status status, json::object error) {
        result.status = status;
        result.error = std::move(error);
        result.error["num_params"] = num_params(model_config(cell));
    };
    try {
        on_phase(phase);
        if (const auto reason = unsupported_reason(cell); !reason.empty())
            throw Unsupported(reason);
        const auto start = Clock::now();
        const torch::Device device = device_of(cell);
        on_cuda = device.is_cuda();
        json::object measurement{{"num_params", num_params(model_config(cell))}};
        if (on_cuda) measurement["driver_ms"] = ms_since(start);
        result.measurement =
            measure(cell, device, phase, running, on_device, on_phase, std::move(measurement));
        Verdict verdict = judge(cell, result.measurement);
        result.flags = std::move(verdict.flags);
        if (!verdict.invalid_reason.empty()) {
            // The samples are kept: whoever looks for the cause needs them.
            fail(Status::invalid_result, {{"phase", "measure"},
                                          {"message", verdict.invalid_reason},
                                          {"samples_ms", result.measurement.at("samples_ms")}});
        }
    } catch (const Unsupported& problem) {
        fail(Status::unsupported, {{"phase", where()}, {"message", problem.what()}});
    } catch (...) {
        Failure failure = describe_failure(std::current_exception(), where(), on_cuda);
        // No device, or none that can be used: every other cell would fail likewise.
        if (!on_device && failure.status != Status::oom_gpu) failure.error["environment"] = true;
        fail(failure.status, std::move(failure.error));
    }
    return result;
}

}  // namespace isosweep
