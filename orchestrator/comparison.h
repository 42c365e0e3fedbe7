#pragma once

#include <isosweep/cell.h>
#include <isosweep/comparison.h>

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "orchestrator/options.h"
#include "orchestrator/recorded_sweep.h"

namespace isosweep {

/// What one sweep has of a cell, all its replicates together.
struct CellResults {
    std::string key;                              ///< of the first replicate
    std::string outcome;                          ///< "ok", "timeout", "timeout (1 of 3)"
    std::string error;                            ///< one line where it is not ok
    bool is_ok = true;                            ///< all replicates are
    std::vector<std::vector<double>> samples_ms;  ///< a series per replicate; empty: no journal
    std::vector<Moments> moments;                 ///< a series per replicate
    std::vector<double> medians_ms;               ///< one per replicate
    std::optional<double> peak_allocated_bytes;   ///< the highest
    std::set<std::string> marks;                  ///< flags, and `host_bound`

    /// Of the replicates' medians; only where there is one.
    double median_ms() const;
};

/// What a shift was computed from.
enum class Basis { samples, processes, statistics };
template <>
struct EnumNames<Basis> {
    static constexpr std::pair<Basis, std::string_view> value[] = {
        {Basis::samples, "samples"},
        {Basis::processes, "processes"},
        {Basis::statistics, "statistics"}};
};

/// A cell that both sweeps have.
struct ComparedCell {
    Cell cell;  ///< as A has it, what is ignored at its default
    CellResults a;
    CellResults b;
    // Where both are ok and tell their times:
    Basis basis = Basis::samples;
    std::optional<Shift> shift;  ///< of the times; absent where there are too few
    double holm_p = 1;
    Verdict verdict = Verdict::inconclusive;
    std::optional<double> memory_change;  ///< of the peak: 0.01 is 1 % more

    bool is_timed() const {
        return a.is_ok && b.is_ok && !a.medians_ms.empty() && !b.medians_ms.empty();
    }
    /// How many times as long B takes.
    double time_ratio() const;
};

/// A fact of the two sweeps that a reader must know: which GPU, which build.
struct ComparedFact {
    std::string name;
    std::string column;  ///< its name for programs, as the CSV's column
    std::string a;
    std::string b;
    bool differs = false;  ///< in what both tell
};

/// What a comparison comes to.
struct Counts {
    std::size_t timed = 0;  ///< cells that are ok in both and tell their times
    std::map<Verdict, std::size_t> verdicts;
    std::optional<double> mean_ratio;  ///< geometric, of the time ratios of these
    std::size_t outcomes_worse = 0;    ///< ok in A alone
    std::size_t outcomes_better = 0;   ///< ok in B alone
    std::size_t memory_worse = 0;

    std::size_t of(Verdict verdict) const {
        const auto found = verdicts.find(verdict);
        return found == verdicts.end() ? 0 : found->second;
    }
    bool is_worse() const {
        return outcomes_worse > 0 || of(Verdict::slower) > 0 || memory_worse > 0;
    }
};

struct Comparison {
    CompareOptions options;
    std::vector<ComparedFact> facts;
    std::vector<std::string> notes;   ///< what limits the comparison
    std::vector<ComparedCell> cells;  ///< in the order of A
    std::vector<PlannedCell> only_in_a;
    std::vector<PlannedCell> only_in_b;
    bool has_one_device = true;  ///< so that a cell's name need not tell it

    bool needs_more_memory(const ComparedCell& cell) const {
        return cell.memory_change.value_or(0) > options.threshold;
    }
    Counts counts() const;
};

/// Compares two sweeps: cells are the same where all their fields are, but for the number of the
/// replicate and what the options leave out.
/// \throws UsageError where that is ambiguous, nothing is in common, or the machines differ
Comparison compare(const RecordedSweep& a, const RecordedSweep& b, const CompareOptions& options);

/// A comparison for people, and for programs (docs/BENCHMARKING.md).
std::string to_text(const Comparison& comparison);
std::string to_markdown(const Comparison& comparison);
std::string to_json(const Comparison& comparison);

}  // namespace isosweep
