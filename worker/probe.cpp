#include "probe.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <isosweep/statistics.h>

#include <boost/json/array.hpp>
#include <vector>

#include "device.h"
#include "errors.h"
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
    cuda::initialize();
    const at::NoGradGuard no_grad;
    const MatmulPrecision matmul_precision(precision);
    const auto type = precision == Precision::bf16 ? at::kBFloat16 : at::kFloat;
    // Random numbers: the power that a product takes, and so its clock, depends on the data.
    const auto matrix = [&] {
        return at::randn({matmul_size, matmul_size}, at::TensorOptions(at::kCUDA).dtype(type));
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
    if (text_of(probe, "name") != "matmul") return refuse("unknown probe: expected matmul");
    const auto precision = from_name<Precision>(text_of(probe, "precision"));
    if (!precision)
        return refuse("unknown precision: expected one of " + join(names_of<Precision>(), ", "));
    if (!cuda::is_usable()) return refuse("the probe matmul needs a CUDA device");
    try {
        result.measurement = measure_matmul(*precision, enter);
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
    const std::string size = std::to_string(measurement.at("size").as_int64());
    return std::string(measurement.at("device_name").as_string()) + ": " + size + " x " + size +
           " matrix product in " + std::string(measurement.at("precision").as_string()) + ": " +
           format_fixed(measurement.at("tflops").as_double(), 1) + " TFLOP/s\n";
}

}  // namespace isosweep
