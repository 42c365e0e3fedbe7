#include "orchestrator/policy.h"

#include <algorithm>
#include <array>

namespace isosweep {
namespace {

int allowed(const RetryRule& rule, Status status) {
    const auto found = rule.find(status);
    return found == rule.end() ? 0 : found->second;
}

/// Whether the cause is the environment's: it may pass, so the next try waits.
bool may_pass(Status status) {
    return status == Status::spawn_failed || status == Status::oom_host ||
           status == Status::oom_gpu;
}

/// 250 ms, doubled with each try, 30 s at most.
std::chrono::milliseconds backoff(int tries) {
    return std::chrono::milliseconds(std::min(250 << std::min(tries, 7), 30'000));
}

}  // namespace

bool is_timed(std::string_view phase) {
    constexpr std::array untimed = {"build", "capture", "memory", "cleanup"};
    return std::find(untimed.begin(), untimed.end(), phase) == untimed.end();
}

NextStep decide(const Evidence& seen, const Outcome& outcome, const CellHistory& history,
                const RetryRule& rule) {
    const auto so_far = [&](Decision decision, Status status) {
        return static_cast<int>(std::count_if(
            history.pending.begin(), history.pending.end(),
            [&](const Pending& one) { return one.decision == decision && one.status == status; }));
    };
    // The next run starts it again.
    if (seen.killed_for == KilledFor::unfit) return {Decision::again, {}, false};
    if (outcome.status == Status::interrupted) {
        constexpr int enough = 3;
        constexpr int longer = 2;  // a cluster takes its time: 1 s, 2 s, 4 s
        const int tries = so_far(Decision::again, Status::interrupted);
        if (seen.taken_away.empty() || tries >= enough) return {Decision::again, {}, false};
        return {Decision::again, backoff(tries + longer)};
    }
    const bool died = seen.end && seen.killed_for == KilledFor::nothing;
    // A worker that hangs after its last answer never sees the next request.
    const bool hung_before = seen.reused && (seen.killed_for == KilledFor::no_result ||
                                             seen.killed_for == KilledFor::stalled);
    if (seen.hello && !seen.taken && (died || hung_before)) {
        const int tries = so_far(Decision::again, outcome.status);
        if (tries < allowed(rule, Status::spawn_failed)) return {Decision::again, {}};
        return {Decision::record, {}};
    }
    const int tries = so_far(Decision::retry, outcome.status);
    if (tries < allowed(rule, outcome.status))
        return {Decision::retry,
                may_pass(outcome.status) ? backoff(tries) : std::chrono::milliseconds(0)};
    return {Decision::record, {}};
}

}  // namespace isosweep
