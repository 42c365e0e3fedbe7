#pragma once

#include <cstddef>
#include <vector>

#include "orchestrator/checks.h"
#include "orchestrator/journal.h"
#include "orchestrator/plan.h"
#include "orchestrator/table.h"

namespace isosweep {

/// One row per planned cell in plan order, all columns (docs/BENCHMARKING.md). Derived from the
/// journal alone, so that it can be made again at any time. Of a large sweep its rows are made a
/// part at a time. Plan and journal have to outlive it.
class CellsTable {
  public:
    CellsTable(const std::vector<PlannedCell>& plan, const Journal& journal);

    std::size_t row_count() const { return plan_.size(); }
    /// The rows from `first` to before `last`, with the columns that all rows together have.
    Table rows(std::size_t first, std::size_t last) const;

  private:
    void add_row(Table& table, std::size_t row) const;

    const std::vector<PlannedCell>& plan_;
    const Journal& journal_;
    Table no_rows_;  ///< its columns
    std::vector<RowChecks> checks_;
};

/// All of its rows.
Table make_cells_table(const std::vector<PlannedCell>& plan, const Journal& journal);

}  // namespace isosweep
