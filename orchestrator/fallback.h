#pragma once

#include <isosweep/outcome.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/plan.h"

namespace isosweep {

/// One way to make a cell smaller: an axis of numbers divided, or an axis set to a value.
struct FallbackStep {
    std::string key;           ///< the axis, as in a config
    std::int64_t divisor = 0;  ///< of an axis of numbers, which it rounds down; 0: the axis is set
    std::int64_t floor = 1;    ///< what it is not divided below
    std::string value;         ///< what it is set to
    bool operator==(const FallbackStep&) const = default;
};

/// How other cells follow from one by what became of it: steps that make a cell smaller that ran
/// out of the GPU's memory, or the search for the largest value of an axis that fits.
struct FallbackRule {
    std::string text;                 ///< as the journal keeps it; `read_rule` reads it
    std::vector<FallbackStep> steps;  ///< empty for a search
    std::string bisect;               ///< the axis that is searched; empty for steps
};

/// Reads `fallback = batch-size/2,context-length/2>=128,activation-checkpointing,precision:bf16`.
/// \throws BadValue
FallbackRule parse_fallback(const std::string& text);
/// Reads `bisect = batch-size`. \throws BadValue
FallbackRule parse_bisect(const std::string& text);
/// Reads a rule's own text. \throws BadValue
FallbackRule read_rule(const std::string& text);

/// What became of a cell, by its key; absent where that is not known yet.
using StatusOf = std::function<std::optional<Status>(const std::string& key)>;

/// The cells that follow from one by a rule, as far as it is known what became of them.
struct FallbackChain {
    std::vector<PlannedCell> tried;   ///< those whose outcome is known, in their order
    std::optional<PlannedCell> next;  ///< the one whose outcome is needed to go on
    /// The first that fits, of a search the largest (which can be the requested cell itself);
    /// absent as long as none does.
    std::optional<PlannedCell> fits;
};

/// Follows a rule from `requested`, which ended with `status`. A pure function.
///
/// Steps add up, each repeated until its axis can go no further, and stop at the first cell that is
/// ok. Only want of GPU memory leads on: any other failure ends the chain, since it says nothing of
/// memory. A step that leads to what is unsupported is taken back. A search doubles or halves the
/// axis until one value fits and one does not, and then bisects between them.
FallbackChain follow(const FallbackRule& rule, const PlannedCell& requested, Status status,
                     const StatusOf& status_of);

/// The plan, and behind it the cells that followed from its cells by the rules in the journal; each
/// knows the cell that it follows from (`fallback_of`), and each planned cell the one that fits in
/// its place (`fallback_key`). \throws ResultsError for a rule that cannot be read
std::vector<PlannedCell> with_fallbacks(std::vector<PlannedCell> plan, const Journal& journal);

/// The cells that are to be run next by `rule`, each once. Those of the plan that have no outcome
/// yet may be among them.
std::vector<PlannedCell> owed_fallbacks(const std::vector<PlannedCell>& plan,
                                        const Journal& journal, const FallbackRule& rule);

}  // namespace isosweep
