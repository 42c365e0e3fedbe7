#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/cells_table.h"
#include "orchestrator/journal.h"
#include "orchestrator/plan.h"
#include "orchestrator/table.h"

namespace isosweep {

/// A sweep as a run left it, for those who only read it.
struct RecordedSweep {
    std::string name;                ///< as a person called it
    Table table;                     ///< all columns, a row per cell (`make_cells_table`)
    std::vector<PlannedCell> cells;  ///< of these rows; `device` is what it meant in that sweep
    std::optional<Journal> journal;  ///< absent where there is nothing but a CSV
};

/// Reads a sweep by its CSV, by its config or by the folder of its journal. Where there is a
/// journal, the table is made from it.
/// \throws UsageError naming the file and what to do
RecordedSweep read_sweep(const std::filesystem::path& subject);

/// The cells of a table's rows. `name` is the table's, for messages. \throws UsageError
std::vector<PlannedCell> cells_of(const Table& table, const std::string& name);

/// The samples of a cell that ended ok; empty where the journal has none.
std::vector<double> samples_ms(const Journal& journal, const std::string& key);

}  // namespace isosweep
