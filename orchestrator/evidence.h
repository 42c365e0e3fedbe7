#pragma once

#include <isosweep/outcome.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/attempt_times.h"
#include "orchestrator/process.h"

namespace isosweep {

/// Why we ended a worker, if we did.
enum class KilledFor {
    nothing,        ///< we did not
    no_hello,       ///< no hello within `start-timeout`
    no_result,      ///< no result within `timeout`
    stalled,        ///< no sign of life within `stall-timeout`
    stdout_closed,  ///< it closed its stdout without a result and lived on
    no_exit,        ///< it had answered and did not end within `kill-grace`
    bad_result,     ///< it broke the protocol
    user,           ///< a second Ctrl-C
    unfit,          ///< its hello does not fit the sweep
};

/// All that was seen of one attempt at a cell.
struct Evidence {
    std::string spawn_error;       ///< why the program could not be started; empty if it was
    bool hello = false;            ///< it said hello
    bool reused = false;           ///< it had answered for another cell before
    bool taken = false;            ///< it sent at least one line with the request's nonce
    std::vector<Outcome> results;  ///< its results, each checked against the request
    std::string broken_line;    ///< what is wrong with a line that is none of ours; empty if fine
    bool partial_line = false;  ///< its output ended in the middle of a line
    std::string phase;          ///< the last phase it named
    std::int64_t noise_lines = 0;
    KilledFor killed_for = KilledFor::nothing;
    std::optional<ProcessEnd>
        end;  ///< absent where it lives on for the next cell of a shared sweep
    std::chrono::milliseconds limit{};  ///< the limit that `killed_for` speaks of
    /// How it hung when its time was up: what it did, and since when there was no sign of life.
    std::string hung;
    bool oom_killed = false;       ///< the kernel killed somebody of its group for want of memory
    std::int64_t over_limit = 0;   ///< the `memory-limit` that it was at then, in bytes; 0: none
    std::string last_words;        ///< the end of its log
    bool behind_launcher = false;  ///< exit code 128 + n may stand for a signal
    std::string taken_away;        ///< how the launcher says the cluster took it; empty: it did not
    bool launcher_oom = false;     ///< the launcher says that its memory limit killed it
    AttemptTimes times;
};

/// The outcome of one attempt: the table "what the orchestrator sees" of docs/PROTOCOL.md, tested
/// row by row in its order. A pure function.
Outcome classify(const Evidence& evidence);

}  // namespace isosweep
