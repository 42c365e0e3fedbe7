#pragma once

#include <isosweep/cell.h>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace isosweep {

/// Figures by the names of their columns.
using Figures = std::vector<std::pair<std::string, boost::json::value>>;

/// Who waits for whom in a step on a GPU: the GPU for the host, or the host for the GPU.
enum class Regime { host_bound, gpu_bound };
template <>
struct EnumNames<Regime> {
    static constexpr std::pair<Regime, std::string_view> value[] = {
        {Regime::host_bound, "host_bound"}, {Regime::gpu_bound, "gpu_bound"}};
};

/// The regime of a measurement; absent on a CPU and where steps are not waited for.
std::optional<Regime> find_regime(const Cell& cell, const boost::json::object& measurement);

/// Whether the measured model is the cell's, as far as its number of parameters tells.
bool is_model_of_cell(const Cell& cell, const boost::json::object& measurement);

/// Everything that follows from a cell and a worker's measurement of it, for tables and for the
/// worker's own text: integers, finite doubles and texts, each described in docs/BENCHMARKING.md.
/// What does not follow is left out, and so is the arithmetic of a model that `num_params` shows to
/// be another one than the cell's. What the worker sends as a single value is not repeated.
///
/// `attainable_tflops`: what a large matrix product reaches on this GPU and at this precision.
Figures figures(const Cell& cell, const boost::json::object& measurement,
                std::optional<double> attainable_tflops = std::nullopt);

}  // namespace isosweep
