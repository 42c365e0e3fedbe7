#include "orchestrator/status.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <charconv>

#include "orchestrator/clock.h"
#include "orchestrator/eta.h"

namespace isosweep {
namespace json = boost::json;
namespace {

/// Reads what a lock says of its holder, "pid N on HOST since TIME".
std::optional<Runner> read_holder(const std::string& text, const std::string& here) {
    const std::size_t on = text.find(" on ");
    const std::size_t since = text.rfind(" since ");
    if (!text.starts_with("pid ") || on == text.npos || since == text.npos || since < on + 4)
        return std::nullopt;
    Runner runner;
    std::from_chars(text.data() + 4, text.data() + on, runner.pid);
    runner.host = text.substr(on + 4, since - on - 4);
    runner.since_ms = parse_utc(text.substr(since + 7)).value_or(0);
    runner.is_here = runner.host == here;
    return runner;
}

/// Whether a run goes on whose lock is `lock`, apart from what is left to do.
RunState judge(const LockState& lock, const std::optional<Runner>& runner,
               std::optional<std::int64_t> age_ms, const StatusFacts& facts) {
    if (lock.is_held) return RunState::running;
    // A lock of this machine that is not held is free, and what it says is old.
    if (!runner || runner->is_here) return RunState::none;
    const std::int64_t silence_ms =
        std::min(age_ms.value_or(facts.now_ms), facts.now_ms - runner->since_ms);
    return facts.longest_silence_ms && silence_ms > *facts.longest_silence_ms ? RunState::unlikely
                                                                              : RunState::likely;
}

std::string duration(std::int64_t milliseconds) {
    return format_duration(static_cast<double>(milliseconds));
}

/// "4 of 12 cells done, 1 failed, 8 left, about 3 min 20 s".
std::string progress_text(const SweepStatus& status) {
    if (!status.last_record_age_ms)
        return std::to_string(status.total) + (status.total == 1 ? " cell" : " cells") +
               " planned, none run yet (no " + status.journal + ")";
    std::string text = std::to_string(status.done) + " of " + std::to_string(status.total) +
                       " cells done, " + std::to_string(status.failed) + " failed, " +
                       std::to_string(status.left()) + " left";
    if (status.skipped > 0) text += ", " + std::to_string(status.skipped) + " skipped";
    if (status.left_ms && status.left() > 0) {
        const std::size_t slots = status.running.size();
        text += ", about " + format_duration(*status.left_ms) + " for " +
                (slots > 1 ? std::to_string(slots) + " slots" : "one slot");
    }
    return text;
}

/// Who runs the sweep, if anybody does.
std::string run_text(const SweepStatus& status) {
    if (status.run == RunState::none)
        return status.left() > 0 ? "no run is going on; the same `isosweep run` goes on"
                                 : "no run is going on";
    if (!status.runner) return "a run is going on";
    const Runner& runner = *status.runner;
    const std::string who = "pid " + std::to_string(runner.pid) +
                            (runner.is_here ? "" : " on " + runner.host) + " since " +
                            format_utc(runner.since_ms);
    switch (status.run) {
        case RunState::none:
        case RunState::running:
            return "a run is going on: " + who;
        case RunState::likely:
            return "a run seems to go on: " + who + "; its lock cannot be seen from this machine";
        case RunState::unlikely:
            return "a run has probably ended: " + who +
                   "; nothing was recorded for longer than a cell may take";
    }
    return {};
}

std::string running_text(const RunningCell& cell) {
    return cell.description +
           (cell.attempt > 1 ? " (attempt " + std::to_string(cell.attempt) + ")" : "");
}

}  // namespace

SweepStatus make_status(const std::vector<PlannedCell>& rows, const Journal& journal,
                        const StatusFacts& facts) {
    SweepStatus status;
    status.total = rows.size();
    status.journal = journal.file().string();
    status.runner = read_holder(facts.lock.holder, facts.host);
    // Clocks of two machines may differ by more than the record is old.
    if (const auto last = journal.last_record_ms())
        status.last_record_age_ms = std::max<std::int64_t>(0, facts.now_ms - *last);
    status.run = judge(facts.lock, status.runner, status.last_record_age_ms, facts);

    EtaEstimator eta;
    for (const PlannedCell& row : rows) {
        const CellHistory& history = journal.history(row.key);
        // An attempt that an earlier run left open is not one that runs now.
        const bool is_running = status.run != RunState::none && history.open &&
                                (!status.runner || history.started_ms >= status.runner->since_ms);
        if (is_running)
            status.running.push_back(
                {row.key, describe(row.cell), history.starts,
                 std::max<std::int64_t>(0, facts.now_ms - history.started_ms)});
        else
            ++status.outcomes[shown_status(history)];
        if (history.is_done()) {
            ++status.done;
            if (is_failed(history.recorded->status)) ++status.failed;
            eta.add_finished(row.cell, static_cast<double>(history.recorded->elapsed_ms));
        } else if (!is_running && shown_status(history) == Status::skipped) {
            ++status.skipped;
        } else {
            eta.add_left(row.cell);
        }
    }
    if (const auto left_ms = eta.left_ms())
        status.left_ms =
            *left_ms / static_cast<double>(std::max<std::size_t>(1, status.running.size()));
    // What has nothing left to do has ended, or is about to.
    if (status.run != RunState::running && status.left() == 0 && status.running.empty())
        status.run = RunState::none;
    if (status.run == RunState::none) status.runner.reset();
    return status;
}

std::string status_text(const SweepStatus& status) {
    constexpr std::size_t shown_running = 16;
    std::string text = progress_text(status) + "\n";
    std::vector<std::string> outcomes;
    for (const auto& [outcome, number] : status.outcomes)
        outcomes.push_back(std::to_string(number) + " " + std::string(to_name(outcome)));
    if (status.last_record_age_ms && !outcomes.empty())
        text += "outcomes: " + join(outcomes, ", ") + "\n";
    for (std::size_t i = 0; i < status.running.size() && i < shown_running; ++i)
        text += "running: " + running_text(status.running[i]) + ", for " +
                duration(status.running[i].running_ms) + "\n";
    if (status.running.size() > shown_running)
        text += "running: " + std::to_string(status.running.size() - shown_running) + " more\n";
    text += run_text(status);
    if (status.run != RunState::none && status.last_record_age_ms)
        text += "; last record " + duration(*status.last_record_age_ms) + " ago";
    return text + "\n";
}

std::string status_line(const SweepStatus& status) {
    std::string text = progress_text(status);
    if (!status.running.empty()) text += "; running: " + running_text(status.running.front());
    if (status.running.size() > 1)
        text += " and " + std::to_string(status.running.size() - 1) + " more";
    if (status.run != RunState::running) text += "; " + run_text(status);
    return text;
}

json::object status_json(const SweepStatus& status) {
    json::object run{{"state", to_name(status.run)}};
    if (status.runner) {
        run["pid"] = status.runner->pid;
        run["host"] = status.runner->host;
        run["since"] = format_utc(status.runner->since_ms);
        run["is_here"] = status.runner->is_here;
    }
    json::object outcomes;
    for (const auto& [outcome, number] : status.outcomes) outcomes[to_name(outcome)] = number;
    json::array running;
    for (const RunningCell& cell : status.running)
        running.push_back({{"key", cell.key},
                           {"cell", cell.description},
                           {"attempt", cell.attempt},
                           {"running_ms", cell.running_ms}});
    json::object object{{"journal", status.journal}, {"run", run},
                        {"total", status.total},     {"done", status.done},
                        {"failed", status.failed},   {"left", status.left()},
                        {"skipped", status.skipped}, {"outcomes", outcomes},
                        {"running", running}};
    if (status.left_ms) object["left_ms"] = static_cast<std::int64_t>(*status.left_ms);
    if (status.last_record_age_ms) object["last_record_age_ms"] = *status.last_record_age_ms;
    return object;
}

}  // namespace isosweep
