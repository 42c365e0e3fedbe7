#include "run_cell.h"

#include <ATen/Context.h>
#include <isosweep/benchmark.h>
#include <isosweep/protocol.h>

#include <boost/json/array.hpp>
#include <chrono>
#include <cmath>
#include <mutex>
#include <stdexcept>

#include "device.h"
#include "errors.h"
#include "host.h"
#include "timing.h"

namespace isosweep {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// A cell that cannot be, with the reason.
class Unsupported : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// A result that cannot be true.
class InvalidResult : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

torch::Device device_of(const Cell& cell) {
    const bool cuda = cell.device != Device::cpu && cuda::is_usable();
    if (cell.device == Device::cuda && !cuda) throw std::runtime_error("no CUDA device");
    if (!cuda && cell.precision == Precision::tf32)
        throw Unsupported("precision = tf32 needs a CUDA device");
    if (!cuda && cell.gpu_memory_limit.bytes != 0)
        throw Unsupported("gpu_memory_limit needs a CUDA device");
    return cuda ? torch::Device(torch::kCUDA) : torch::Device(torch::kCPU);
}

/// Only the device's own generator: seeding all of them, as torch::manual_seed does, would start
/// CUDA for a cell on the CPU.
void seed(torch::Device device, std::int64_t value) {
    at::Generator generator = at::globalContext().defaultGenerator(device);
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(static_cast<std::uint64_t>(value));
}

json::array array_of(const std::vector<double>& values) {
    return json::array(values.begin(), values.end());
}

json::object object_of(const PhaseTimes& times) {
    json::object object{{"forward", array_of(times.forward)}};
    if (!times.backward.empty()) object["backward"] = array_of(times.backward);
    if (!times.optimizer.empty()) object["optimizer"] = array_of(times.optimizer);
    return object;
}

std::int64_t bytes_of(const Transformer& model) {
    std::int64_t bytes = 0;
    for (const torch::Tensor& parameter : model->parameters())
        bytes += static_cast<std::int64_t>(parameter.nbytes());
    return bytes;
}

void reset_peak_memory(torch::Device device) {
    if (device.is_cuda())
        cuda::reset_peak_memory();
    else
        host::reset_peak_resident();
}

json::object peak_memory(torch::Device device) {
    if (device.is_cuda()) {
        const cuda::Memory memory = cuda::memory();
        return {{"peak_allocated_bytes", memory.peak_allocated},
                {"peak_reserved_bytes", memory.peak_reserved}};
    }
    const auto peak = host::peak_resident_bytes();
    return peak ? json::object{{"peak_resident_bytes", *peak}} : json::object{};
}

/// The cell itself. `phase` and `running` are kept up to date for whoever catches what it throws.
json::object measure(const Cell& cell, torch::Device device, std::string_view& phase,
                     RunningPart& running, const std::function<void(std::string_view)>& on_phase) {
    const auto start = Clock::now();
    json::object measurement{{"num_params", num_params(model_config(cell))},
                             {"device", device.is_cuda() ? "cuda" : "cpu"}};
    if (device.is_cuda()) {
        cuda::initialize();
        if (cell.gpu_memory_limit.bytes != 0) cuda::limit_memory(cell.gpu_memory_limit.bytes);
    }
    measurement["device_name"] = device.is_cuda() ? cuda::device_name() : host::cpu_name();
    measurement["context_ms"] = ms_since(start);

    const auto build_start = Clock::now();
    seed(device, cell.seed);
    const Transformer model = create_model(model_config(cell), cell.context_length, device);
    const torch::Tensor ids =
        generate_random_batch(cell.batch_size, cell.context_length, cell.vocab_size, device);
    if (device.is_cuda()) cuda::synchronize();
    measurement["build_ms"] = ms_since(build_start);
    measurement["model_bytes"] = bytes_of(model);

    reset_peak_memory(device);
    const auto enter = [&](std::string_view name) {
        phase = name;
        on_phase(name);
    };
    const BenchmarkResult result = benchmark(model, ids, cell.pass_type,
                                             {.warmup_steps = cell.warmup_steps,
                                              .measure_steps = cell.measure_steps,
                                              .sync = cell.sync,
                                              .precision = cell.precision,
                                              .on_phase = enter},
                                             running);
    enter("memory");
    for (const auto& entry : peak_memory(device)) measurement.insert(entry);
    if (!std::isfinite(result.loss)) throw InvalidResult("loss is not finite");
    measurement["loss"] = result.loss;
    measurement["warmup_ms"] = array_of(result.warmup_ms);
    measurement["samples_ms"] = array_of(result.samples_ms);
    measurement["phases_ms"] = object_of(result.phases_ms);
    measurement["total_ms"] = ms_since(start);
    return measurement;
}

/// Makes the GPU as if no cell had been there.
void clean_up_cuda() {
    cuda::limit_memory(std::nullopt);
    cuda::release_cache();
}

}  // namespace

std::string CellResult::line(std::string_view nonce) const {
    return status == Status::ok ? protocol::ok_line(nonce, measurement, flags)
                                : protocol::failure_line(nonce, status, error);
}

std::string unsupported_reason(const Cell& cell) {
    if (!cell.custom.empty()) return "unknown axis " + cell.custom.begin()->first;
    if (auto reason = invalid_reason(model_config(cell)); !reason.empty()) return reason;
    if (cell.kernels == Kernels::fused) return "kernels = fused is not available yet";
    if (cell.cuda_graph) return "cuda_graph = on is not available yet";
    if (cell.activation_checkpointing) return "activation_checkpointing = on is not available yet";
    return {};
}

CellResult run_cell(const Cell& cell, const std::function<void(std::string_view)>& on_phase) {
    std::string_view phase = "build";
    RunningPart running;
    bool on_cuda = false;
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
        const torch::Device device = device_of(cell);
        on_cuda = device.is_cuda();
        result.measurement = measure(cell, device, phase, running, on_phase);
    } catch (const Unsupported& problem) {
        fail(Status::unsupported, {{"phase", where()}, {"message", problem.what()}});
    } catch (const InvalidResult& problem) {
        fail(Status::invalid_result, {{"phase", where()}, {"message", problem.what()}});
    } catch (...) {
        Failure failure = describe_failure(std::current_exception(), where(), on_cuda);
        fail(failure.status, std::move(failure.error));
    }
    if (!on_cuda || result.status == Status::crash) return result;
    try {
        clean_up_cuda();
    } catch (...) {
        // The cell's own result stands, unless the GPU is lost to this process.
        Failure failure = describe_failure(std::current_exception(), "cleanup", on_cuda);
        if (failure.status == Status::crash) fail(failure.status, std::move(failure.error));
    }
    return result;
}

}  // namespace isosweep
