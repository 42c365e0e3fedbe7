#include "orchestrator/evidence.h"

#include <isosweep/text.h>

namespace isosweep {
namespace {

/// The exit code or the signal that a worker ended by, where that was not a clean exit.
struct UncleanEnd {
    std::optional<int> exit_code;
    std::string signal;
    std::string text;  ///< "exit code 3", "SIGSEGV"
};

std::optional<UncleanEnd> unclean_end(const Evidence& seen) {
    if (!seen.end) return std::nullopt;
    struct Visitor {
        bool behind_launcher;
        std::optional<UncleanEnd> operator()(const Exited& exited) const {
            if (exited.code == 0) return std::nullopt;
            // A launcher renders its child's death by signal n as 128 + n.
            if (behind_launcher && exited.code > 128 && exited.code < 128 + 32)
                return (*this)(Signaled{exited.code - 128});
            return UncleanEnd{exited.code, {}, describe(ProcessEnd(exited))};
        }
        std::optional<UncleanEnd> operator()(const Signaled& signaled) const {
            return UncleanEnd{std::nullopt, signal_name(signaled.number),
                              signal_name(signaled.number)};
        }
    };
    return std::visit(Visitor{seen.behind_launcher}, *seen.end);
}

std::string in_phase(const Evidence& seen) {
    return seen.phase.empty() ? std::string() : " in phase " + seen.phase;
}

std::string with_last_words(const std::string& message, const Evidence& seen) {
    return seen.last_words.empty() ? message : message + ": " + seen.last_words;
}

/// ": over memory-limit = 1.5 GiB" where the kernel enforced one.
std::string over_limit(const Evidence& seen) {
    return seen.over_limit == 0 || !seen.oom_killed
               ? std::string()
               : ": over memory-limit = " + format_bytes(seen.over_limit);
}

Outcome outcome(Status status, const Evidence& seen, const std::string& message) {
    Outcome result;
    result.status = status;
    result.message = one_line(message);
    result.phase = seen.phase;
    return result;
}

/// The rows of the table, in their order.
Outcome classify_rows(const Evidence& seen) {
    using enum Status;
    const auto end = unclean_end(seen);
    const bool exited_cleanly = seen.end && !end;
    const auto limit = [&] { return format_duration(static_cast<double>(seen.limit.count())); };

    if (!seen.spawn_error.empty()) return outcome(spawn_failed, seen, seen.spawn_error);
    // What we ended ourselves the cluster shows as cancelled, too.
    if (!seen.taken_away.empty() && seen.killed_for == KilledFor::nothing)
        return outcome(interrupted, seen,
                       "taken away by the cluster: " + seen.taken_away + in_phase(seen));
    if (!seen.hello && seen.killed_for == KilledFor::nothing && seen.broken_line.empty())
        return outcome(spawn_failed, seen,
                       with_last_words("the worker ended before its hello (" +
                                           (end ? end->text : std::string("exit code 0")) + ")" +
                                           over_limit(seen),
                                       seen));

    if (!seen.broken_line.empty()) return outcome(invalid_result, seen, seen.broken_line);
    if (seen.results.size() > 1)
        return outcome(invalid_result, seen,
                       "the worker sent " + std::to_string(seen.results.size()) + " results");
    if (seen.results.size() == 1 && seen.results[0].status == invalid_result)
        return seen.results[0];
    if (seen.partial_line && exited_cleanly && seen.killed_for == KilledFor::nothing)
        return outcome(invalid_result, seen, "the worker's last line has no end");

    if (seen.results.size() == 1) {
        Outcome result = seen.results[0];
        if (seen.killed_for == KilledFor::no_exit)
            result.flags.emplace_back("dirty_exit:no_exit");
        else if (end && seen.killed_for == KilledFor::nothing && result.status != crash)
            result.flags.push_back(
                "dirty_exit:" + (end->exit_code ? std::to_string(*end->exit_code) : end->signal));
        return result;
    }

    if (seen.killed_for == KilledFor::user)
        return outcome(interrupted, seen, "stopped by the user" + in_phase(seen));
    if (seen.killed_for == KilledFor::unfit)
        return outcome(not_run, seen, "its worker does not fit the sweep");
    if (seen.killed_for == KilledFor::no_hello)
        return outcome(timeout, seen,
                       with_last_words("no hello within start-timeout = " + limit(), seen));
    const std::string hung = seen.hung.empty() ? "" : "; " + seen.hung;
    if (seen.killed_for == KilledFor::no_result)
        return outcome(timeout, seen,
                       "no result within timeout = " + limit() + in_phase(seen) + hung);
    if (seen.killed_for == KilledFor::stalled)
        return outcome(timeout, seen,
                       "no sign of life within stall-timeout = " + limit() + in_phase(seen) + hung);
    if (seen.killed_for == KilledFor::stdout_closed) {
        Outcome result = outcome(timeout, seen,
                                 "closed its stdout without a result" + in_phase(seen) +
                                     " and did not end within kill-grace = " + limit());
        result.flags.push_back("stdout_closed");
        return result;
    }
    // The kernel's OOM killer uses this signal; somebody else may, too.
    if (end && end->signal == "SIGKILL" && seen.oom_killed && !seen.behind_launcher)
        return outcome(oom_host, seen,
                       "killed for want of memory" + in_phase(seen) + over_limit(seen));
    if (end && seen.launcher_oom)
        return outcome(oom_host, seen, "killed by the cluster's memory limit" + in_phase(seen));
    if (end && !end->signal.empty())
        return outcome(crash, seen,
                       with_last_words("ended by " + end->signal + in_phase(seen), seen));
    if (end)
        return outcome(error, seen,
                       with_last_words("ended with " + end->text + in_phase(seen), seen));
    return outcome(invalid_result, seen,
                   with_last_words("ended with exit code 0 and no result" + in_phase(seen), seen));
}

}  // namespace

Outcome classify(const Evidence& seen) {
    Outcome result = classify_rows(seen);
    result.noise_lines = seen.noise_lines;
    if (result.phase.empty() && result.status != Status::ok) result.phase = seen.phase;
    // How the process ended is told only where it ended by itself: our own kill is no news.
    if (seen.killed_for == KilledFor::nothing) {
        if (const auto end = unclean_end(seen)) {
            result.exit_code = end->exit_code;
            result.signal = end->signal;
        }
    }
    return result;
}

}  // namespace isosweep
