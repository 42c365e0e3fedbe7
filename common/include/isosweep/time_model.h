#pragma once

#include <isosweep/cell.h>

#include <optional>
#include <string_view>

/// How long our own worker takes, foreseen from the arithmetic, the memory traffic and the number
/// of kernels of a step (docs/BENCHMARKING.md, "Predictions"). Milliseconds.
namespace isosweep {

/// A step on a GPU whose datasheet we know, by its name as the driver says it. Absent for another
/// GPU, and for a cell on the CPU.
std::optional<double> predict_step_ms(const Cell& cell, std::string_view gpu_name);

/// A step on a made-up device: what counts is how cells compare with each other. For whoever has
/// measured some of them on a device that nobody knows the rates of.
double comparable_step_ms(const Cell& cell);

/// What a worker of its own takes for a cell beside its steps, on the machine that the model was
/// made with: start, context, model, first step.
double predict_overhead_ms(const Cell& cell);

/// Steps that a cell takes when each takes `step_ms`: warm-up, measured ones, extra passes. Where
/// a rule decides (`auto`) it is as for steps that do not vary.
double steps_of(const Cell& cell, double step_ms);

}  // namespace isosweep
