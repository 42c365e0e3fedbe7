#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/options.h"
#include "orchestrator/plan.h"
#include "orchestrator/setting.h"

namespace isosweep {

/// A journal that is to be joined with others.
struct MergeSource {
    std::filesystem::path file;
    std::string lines;  ///< its whole lines
};

/// A cell that two journals recorded differently.
struct MergeConflict {
    std::string key;
    std::string cell;   ///< in a few words
    std::string one;    ///< its outcome and where it stands
    std::string other;  ///< likewise
};

/// Two journals that were measured with different settings.
struct MergeDifference {
    SettingDifference difference;
    std::filesystem::path one;
    std::filesystem::path other;
};

/// Several journals as one.
struct MergedJournal {
    std::string lines;
    std::vector<PlannedCell> rows;           ///< the cells that were begun, by first appearance
    std::vector<std::size_t> cells;          ///< by source: how many cells were taken from it
    std::size_t shared = 0;                  ///< cells with records in several sources
    std::size_t without_row = 0;             ///< cells that were never begun, as a skipped one
    std::vector<MergeConflict> conflicts;    ///< that `prefer` does not decide
    std::optional<MergeDifference> mixture;  ///< the first one
};

/// Joins journals. Each cell's records come from one of them, all of them: from one that has an
/// outcome before one that has none, and from one that goes on where another ends. Two outcomes of
/// which neither journal knows the other's are a conflict, which `prefer` decides. Each attempt
/// keeps the setting that it was measured with. \throws Failure for a journal that is none
MergedJournal merge_journals(const std::vector<MergeSource>& sources, std::optional<Prefer> prefer,
                             std::int64_t now_ms);

/// Reads the sources, takes the output's lock, and writes its journal and CSV.
/// \throws UsageError for conflicts, which are listed on stderr, for an output that is there, for a
/// mixture that is not allowed; Failure
MergedJournal merge_sweeps(const MergeOptions& options);

}  // namespace isosweep
