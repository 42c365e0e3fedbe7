#include "probe.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <isosweep/statistics.h>

#include <boost/json/array.hpp>
#include <chrono>
#include <vector>

#include "cell_setup.h"
#include "device.h"
#include "errors.h"
#include "host.h"
#include "precision.h"

namespace isosweep {
namespace {

namespace json = boost::json;

constexpr std::int64_t matmul_size = 8192;
constexpr int warmup_products = 5;
constexpr std::size_t measured_products = 10;

/// Milliseconds of each product.
std::vector<double> time_products(Precision precision,
                                  const std::function<void(std::string_view)>& enter) {
    enter_device(Cell{}, at::kCUDA);  // a cell may have been here before
    const at::NoGradGuard no_grad;
    const MatmulPrecision matmul_precision(precision);
    // Random numbers: the power that a product takes, and so its clock, depends on the data.
    const auto matrix = [&] {
        return at::randn({matmul_size, matmul_size},
                         at::TensorOptions(at::kCUDA).dtype(product_type(precision)));
    };
    const at::Tensor a = matrix();
    const at::Tensor b = matrix();
    at::Tensor product = at::empty_like(a);

    enter("warmup");
    for (int i = 0; i < warmup_products; ++i) at::mm_out(product, a, b);
    cuda::synchronize();

    enter("measure");
    // Enqueued without a pause, so that the GPU never waits for the host.
    std::vector<cuda::Event> edges(measured_products + 1);
    edges[0].record();
    for (std::size_t i = 0; i < measured_products; ++i) {
        at::mm_out(product, a, b);
        edges[i + 1].record();
    }
    cuda::synchronize();
    std::vector<double> samples;
    for (std::size_t i = 0; i < measured_products; ++i)
        samples.push_back(edges[i].ms_until(edges[i + 1]));
    return samples;
}

json::object measure_matmul(Precision precision,
                            const std::function<void(std::string_view)>& enter) {
    const std::vector<double> samples = time_products(precision, enter);
    const double n = matmul_size;
    const double operations = 2 * n * n * n;
    return {{"probe", "matmul"},
            {"precision", to_name(precision)},
            {"size", matmul_size},
            {"samples_ms", json::array(samples.begin(), samples.end())},
            {"tflops", operations / (summarize(samples)->median * 1e-3) * 1e-12},
            {"device_name", cuda::properties().name}};
}

/// Where the time goes between the start of this process and the end of its first product.
json::object measure_start() {
    using Clock = std::chrono::steady_clock;
    json::object parts{{"probe", "start"}};
    const auto process_age = [&](const char* name) {
        if (const auto age = host::process_age_ms()) parts[name] = *age;
    };
    const auto timed = [&](const char* name, const auto& work) {
        const auto start = Clock::now();
        work();
        parts[name] = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    };
    process_age("start_ms");  // the system's loader, static initialisers, reading the request
    timed("driver_ms", [] { static_cast<void>(cuda::is_usable()); });
    if (!cuda::is_usable()) return parts;
    timed("context_ms", [] { cuda::initialize(); });
    at::Tensor matrix;
    timed("tensor_ms", [&] {
        matrix = at::ones({256, 256}, at::TensorOptions(at::kCUDA).dtype(at::kFloat));
        cuda::synchronize();
    });
    timed("product_ms", [&] {
        matrix = at::mm(matrix, matrix);
        cuda::synchronize();
    });
    process_age("first_product_ms");
    parts["device_name"] = cuda::properties().name;
    return parts;
}

/// The text of a member, or nothing where there is none.
std::string_view text_of(const json::object& object, std::string_view name) {
    const json::value* value = object.if_contains(name);
    return value && value->is_string() ? std::string_view(value->get_string()) : "";
}

}  // namespace

CellResult run_probe(const json::object& probe,
                     const std::function<void(std::string_view)>& on_phase) {
    std::string_view phase = "build";
    const auto enter = [&](std::string_view name) {
        phase = name;
        on_phase(name);
    };
    CellResult result;
    const auto refuse = [&](const std::string& reason) {
        result.status = Status::unsupported;
        result.error = {{"phase", phase}, {"message", reason}};
        return result;
    };
    const auto fail = [&] {
        Failure failure = describe_failure(std::current_exception(), phase, true);
        result.status = failure.status;
        result.error = std::move(failure.error);
    };
    enter(phase);
    const std::string_view name = text_of(probe, "name");
    const auto precision = from_name<Precision>(text_of(probe, "precision"));
    if (name != "matmul" && name != "start")
        return refuse("unknown probe: expected matmul or start");
    if (name == "matmul" && !precision)
        return refuse("unknown precision: expected one of " + join(names_of<Precision>(), ", "));
    try {
        // The first question to the driver is a part of what the probe start measures.
        if (name == "start") result.measurement = measure_start();
        if (!cuda::is_usable())
            return refuse("the probe " + std::string(name) + " needs a CUDA device");
        if (name == "matmul") result.measurement = measure_matmul(*precision, enter);
    } catch (...) {
        fail();
    }
    if (result.status == Status::crash) return result;
    try {
        cuda::release_cache();
    } catch (...) {
        fail();
    }
    return result;
}

std::string probe_text(const json::object& measurement) {
    if (measurement.at("probe") == "start") {
        std::string text = std::string(measurement.at("device_name").as_string()) + ":\n";
        for (const auto& [name, label] : std::initializer_list<std::pair<const char*, const char*>>{
                 {"start_ms", "libraries loaded"},
                 {"driver_ms", "driver started"},
                 {"context_ms", "context created"},
                 {"tensor_ms", "first tensor"},
                 {"product_ms", "first product"},
                 {"first_product_ms", "from start to product"}})
            if (const json::value* ms = measurement.if_contains(name))
                text +=
                    "  " + std::string(label) + ": " + format_fixed(ms->as_double(), 0) + " ms\n";
        return text;
    }
    const std::string size = std::to_string(measurement.at("size").as_int64());
    return std::string(measurement.at("device_name").as_string()) + ": " + size + " x " + size +
           " matrix product in " + std::string(measurement.at("precision").as_string()) + ": " +
           format_fixed(measurement.at("tflops").as_double(), 1) + " TFLOP/s\n";
}

}  // namespace isosweep
