#pragma once

#include <isosweep/outcome.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/files.h"
#include "orchestrator/journal.h"
#include "orchestrator/plan.h"

namespace isosweep {

/// Whether somebody runs a sweep, as far as that can be known here.
enum class RunState {
    none,
    running,   ///< its lock is held
    likely,    ///< by another machine, whose lock cannot be seen; it wrote lately
    unlikely,  ///< likewise, but it has been silent for longer than a cell may take
};
template <>
struct EnumNames<RunState> {
    static constexpr std::pair<RunState, std::string_view> value[] = {
        {RunState::none, "none"},
        {RunState::running, "running"},
        {RunState::likely, "likely"},
        {RunState::unlikely, "unlikely"}};
};

/// What is seen of a sweep beside its journal.
struct StatusFacts {
    LockState lock;
    std::string host;         ///< this machine
    std::int64_t now_ms = 0;  ///< milliseconds since 1970, UTC
    /// How long a run may write nothing; absent where that cannot be told.
    std::optional<std::int64_t> longest_silence_ms;
};

/// Who runs a sweep.
struct Runner {
    std::int64_t pid = 0;
    std::string host;
    std::int64_t since_ms = 0;  ///< milliseconds since 1970 by that machine's clock, UTC
    bool is_here = false;       ///< on this machine
};

/// A cell that is being measured, as far as the journal tells.
struct RunningCell {
    std::string key;
    std::string description;
    int attempt = 1;
    std::int64_t running_ms = 0;
};

/// How far a sweep is.
struct SweepStatus {
    RunState run = RunState::none;
    std::optional<Runner> runner;  ///< absent where nobody runs it or its lock does not say who
    std::size_t total = 0;         ///< planned cells, and those that followed from them
    std::size_t done = 0;          ///< with an outcome that is not run again unasked
    std::size_t failed = 0;        ///< of these
    std::size_t skipped = 0;
    std::map<Status, std::size_t> outcomes;  ///< of all that do not run now
    std::vector<RunningCell> running;
    std::optional<double> left_ms;                   ///< predicted, by as many slots as run now
    std::string journal;                             ///< the file
    std::optional<std::int64_t> last_record_age_ms;  ///< absent where there is no record yet

    std::size_t left() const { return total - done - skipped; }
};

/// How far a sweep is whose rows are these. A pure function.
SweepStatus make_status(const std::vector<PlannedCell>& rows, const Journal& journal,
                        const StatusFacts& facts);

/// The status for a person, some lines.
std::string status_text(const SweepStatus& status);

/// The status in one line, without what changes by itself as time goes by.
std::string status_line(const SweepStatus& status);

/// The status as one object (docs/BENCHMARKING.md).
boost::json::object status_json(const SweepStatus& status);

}  // namespace isosweep
