#pragma once

#include <isosweep/cell.h>

#include <boost/json/object.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/plan.h"
#include "orchestrator/table.h"

/// Checks that no row can pass or fail alone: they hold rows of a sweep against each other.
namespace isosweep {

/// What the checks need to know of a row that is ok.
struct CheckedRow {
    Cell cell;  ///< with its device decided
    boost::json::object measurement;
    std::optional<double> canary_ratio;
};

/// A time as a sum of costs, fitted to rows that differ in sizes and shapes alone. A cost that the
/// fit does not tell from what the GPU's datasheet promises, or from none, is absent.
struct PhysicsFit {
    std::size_t rows = 0;
    double sigma_percent = 0;                ///< robust deviation of the rows from the fit
    std::optional<double> layer_us;          ///< of a layer that has nothing to compute
    std::optional<double> linear_tflops;     ///< rate of the linear layers' arithmetic
    std::optional<double> attention_tflops;  ///< rate of the attention's
    std::optional<double> memory_gb_per_s;   ///< rate of weights, activations and scores
};

/// What the checks find of a row. What cannot be told is absent.
struct RowChecks {
    std::optional<double> canary_ratio;
    std::optional<double> fit_residual_percent;  ///< time over fitted time, less 1
    std::shared_ptr<const PhysicsFit> fit;       ///< of the rows like this one
    std::optional<double> phases_sum_percent;    ///< sum of the phases over the step, less 1
    /// Forward phase over the step of the cell that is a forward pass alone, less 1.
    std::optional<double> nested_forward_percent;
    /// Step over the step of the cell that does the next less of it, less 1.
    std::optional<double> nested_step_percent;
    /// Backward over forward phase, over the same ratio of their arithmetic, less 1.
    std::optional<double> backward_ratio_percent;
    /// Of the bandwidth of the GPU's memory, by what AdamW has to read and write.
    std::optional<double> optimizer_bandwidth_percent;
    std::vector<std::string> flags;
};

/// A row by its place; none where it is not ok.
using ReadRow = std::function<std::optional<CheckedRow>(std::size_t row)>;

/// Checks so many rows against each other, in the same order; those that are not ok have no checks.
/// Each is read once, so that their measurements are never in memory together. A flag is raised
/// only by rows whose times are the device's: on a CPU, or known to be gpu_bound.
std::vector<RowChecks> check_rows(std::size_t count, const ReadRow& read);

/// A row of a sweep with what was measured of it; none where it is not ok.
std::optional<CheckedRow> checked_row(const PlannedCell& row, const Journal& journal,
                                      boost::json::object measurement);

/// The checks of a sweep's rows, in their order.
std::vector<RowChecks> check_sweep(const std::vector<PlannedCell>& rows, const Journal& journal);

/// Sets the columns of the checks in the last row of a table.
void set_checks(Table& table, const RowChecks& checks);

}  // namespace isosweep
