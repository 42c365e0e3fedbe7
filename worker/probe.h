#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "run_cell.h"

namespace isosweep {

/// Measures the device itself, as a request's probe says: {"name":"matmul","precision":"bf16"} is
/// how fast the GPU multiplies matrices of 8192 x 8192 in that precision, the speed that a model
/// made of such products could attain. The measurement holds "samples_ms" (by CUDA events) and,
/// from their median, "tflops". {"name":"start"} is where the time goes from the start of this
/// process to its first product ("start_ms", "driver_ms", "context_ms", "tensor_ms", "product_ms",
/// "first_product_ms"); ask it first. Never throws for what befalls it, and frees what it took.
/// `on_phase` hears build, warmup and measure as they begin.
CellResult run_probe(const boost::json::object& probe,
                     const std::function<void(std::string_view)>& on_phase);

/// A probe's measurement as a person reads it.
std::string probe_text(const boost::json::object& measurement);

}  // namespace isosweep
