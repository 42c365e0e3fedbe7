#include "orchestrator/commands.h"

#include <isosweep/text.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <sstream>

#include "orchestrator/comparison.h"
#include "orchestrator/errors.h"
#include "orchestrator/fallback.h"
#include "orchestrator/files.h"
#include "orchestrator/forecast.h"
#include "orchestrator/journal.h"
#include "orchestrator/log.h"
#include "orchestrator/merge.h"
#include "orchestrator/plan.h"
#include "orchestrator/recorded_sweep.h"
#include "orchestrator/report.h"
#include "orchestrator/sweep.h"
#include "orchestrator/sweep_watch.h"
#include "orchestrator/table.h"
#include "orchestrator/views.h"

namespace isosweep {
namespace {

/// The command line with another verb and further words; without what would start over.
std::string command_like(const std::vector<std::string>& arguments, const std::string& verb,
                         const std::string& more) {
    const std::size_t first = arguments.at(1) == to_name(Verb::shard) ? 3 : 2;  // the config
    std::string text =
        shell_quoted(arguments.at(0)) + " " + verb + " " + shell_quoted(arguments.at(first)) + more;
    bool skip = false;
    for (std::size_t i = first + 1; i < arguments.size(); ++i) {
        const std::string& word = arguments[i];
        if (word.starts_with("--")) skip = word == "--fresh" || word == "--status";
        if (word.starts_with("--fresh=") || word.starts_with("--status=")) continue;
        if (!skip) text += " " + shell_quoted(word);
    }
    return text;
}

/// Cells by what became of them, in the order of the enum.
std::map<Status, std::vector<const PlannedCell*>> by_status(const std::vector<PlannedCell>& rows,
                                                            const Journal& journal) {
    std::map<Status, std::vector<const PlannedCell*>> groups;
    for (const PlannedCell& row : rows)
        groups[shown_status(journal.history(row.key))].push_back(&row);
    return groups;
}

/// Every flag with the number of its cells: "outliers (2), throttled (1)".
std::string count_flags(const std::vector<FlaggedRow>& flagged) {
    std::map<std::string, int> counts;
    for (const auto& [row, flags] : flagged) {
        std::istringstream words(flags);
        for (std::string flag; words >> flag;) ++counts[flag];
    }
    std::vector<std::string> parts;
    for (const auto& [flag, count] : counts)
        parts.push_back(flag + " (" + std::to_string(count) + ")");
    return join(parts, ", ");
}

/// "; what fits: small, context 512, batch 1, forward" for a cell with a fallback that is ok.
std::string what_fits(const PlannedCell& cell, const std::vector<PlannedCell>& rows) {
    for (const PlannedCell& row : rows)
        if (row.key == cell.fallback_key) return "; what fits: " + describe(row.cell);
    return {};
}

/// Tells a person on stderr how the sweep ended, grouped by outcome, and how to go on.
void print_summary(const Sweep& sweep, const SweepEnd& end,
                   const std::vector<std::string>& arguments) {
    constexpr std::size_t shown_per_group = 10;
    std::string counts;
    std::string details;
    std::vector<std::string> to_retry;
    bool to_resume = false;
    const std::vector<PlannedCell>& rows = sweep.rows();
    for (const auto& [status, members] : by_status(rows, sweep.journal())) {
        const std::string name(to_name(status));
        counts += (counts.empty() ? "" : ", ") + std::to_string(members.size()) + " " + name;
        if (status == Status::ok) continue;
        if (is_final(status) && is_failed(status)) to_retry.push_back(name);
        // What was skipped would be skipped again.
        for (const PlannedCell* member : members)
            to_resume = to_resume || (status != Status::skipped &&
                                      !sweep.journal().history(member->key).is_done());
        for (std::size_t i = 0; i < members.size() && i < shown_per_group; ++i)
            details += "  " + name + "  " + members[i]->key + "  " + describe(members[i]->cell) +
                       what_fits(*members[i], rows) + "\n";
        if (members.size() > shown_per_group)
            details += "  " + name + "  and " + std::to_string(members.size() - shown_per_group) +
                       " more\n";
    }
    const std::vector<FlaggedRow>& flagged = sweep.flagged();
    if (sweep.options().strict) {
        for (std::size_t i = 0; i < flagged.size() && i < shown_per_group; ++i)
            details += "  flagged  " + rows[flagged[i].row].key + "  " +
                       describe(rows[flagged[i].row].cell) + ": " + flagged[i].flags + "\n";
        if (flagged.size() > shown_per_group)
            details +=
                "  flagged  and " + std::to_string(flagged.size() - shown_per_group) + " more\n";
    }
    std::string text = counted(rows.size(), "cell") + ": " + counts + "\n" + details;
    if (!flagged.empty())
        text += counted(flagged.size(), "cell") + " ok with flags" +
                (sweep.options().strict ? ", failed by --strict: " : ": ") + count_flags(flagged) +
                "\n";
    if (const std::size_t outside = sweep.cells_outside_plan(); outside > 0)
        text += counted(outside, "recorded cell") + " outside this plan, kept in the journal\n";
    if (end.too_many_failures) text += "stopped: too many cells have failed (max-failures)\n";
    const auto& shard = sweep.options().shard;
    const std::string verb = shard ? "shard " + to_text(*shard) : "run";
    if (to_resume) text += "go on with: " + command_like(arguments, verb, "") + "\n";
    // What failed in a shard is tried again when the shards are one sweep again.
    if (!to_retry.empty() && !shard)
        text +=
            "retry with: " + command_like(arguments, "retry", " --status " + join(to_retry, ",")) +
            "\n";
    text += "written: " + sweep.options().output.string() + "\n";
    std::fputs(text.c_str(), stderr);
}

/// Prints the sweep's table, but where nobody would read it.
void print_table(const Sweep& sweep) {
    constexpr std::size_t most_rows = 2'000;
    const Options& options = sweep.options();
    if (sweep.rows().size() > most_rows && !options.markdown) {
        log::notice("the table has " + std::to_string(sweep.rows().size()) +
                    " rows and is not printed: `isosweep report " + options.config.string() +
                    "` does");
        return;
    }
    const Table table = apply_view(make_cells_table(sweep.rows(), sweep.journal()), options.view);
    const std::vector<ShownColumn> shown = shown_columns(options.view, table);
    print(to_text(table, shown));
    if (options.markdown) print("\n" + to_markdown(table, shown));
}

int exit_code_of(const Sweep& sweep) {
    const std::vector<PlannedCell>& rows = sweep.rows();
    if (sweep.options().strict && !sweep.flagged().empty()) return 1;
    for (const auto& [status, members] : by_status(rows, sweep.journal())) {
        const bool is_oom = status == Status::oom_gpu || status == Status::oom_host;
        if (is_failed(status) || (sweep.options().fail_on_oom && is_oom)) return 1;
    }
    return 0;
}

}  // namespace

int run_sweep(const Command& command, const std::vector<std::string>& arguments) {
    if (!command.options.only.empty()) return run_only(command.options);
    Sweep sweep(command.options);
    std::vector<Status> statuses = command.statuses;
    // Whose fallbacks are asked for is not run again itself.
    if (command.plans_fallbacks) std::erase(statuses, Status::oom_gpu);
    const SweepEnd end =
        sweep.run(command.verb == Verb::retry ? sweep.cells_with(statuses) : sweep.cells_missing());
    print_table(sweep);
    print_summary(sweep, end, arguments);
    if (!end.broken.empty()) throw EnvironmentError(end.broken);
    if (end.signal != 0) {
        sweep.let_go();
        // So that a shell sees a death by this signal and stops its loop, too.
        ::signal(end.signal, SIG_DFL);
        ::raise(end.signal);
    }
    return exit_code_of(sweep);
}

int print_plan(const Command& command) {
    const Forecast forecast = make_forecast(command.options);
    print(printed(forecast.table, shown_forecast(), command.format.value_or(Format::text)));
    std::fputs(forecast.summary.c_str(), stderr);
    return 0;
}

int print_status(const Command& command) {
    SweepWatch watch(command.options);
    if (command.follow)
        follow(watch, command.status_format);
    else
        print(printed_status(watch.look(), command.status_format));
    return 0;
}

int merge(const Command& command) {
    const MergeOptions& options = command.merge;
    const MergedJournal merged = merge_sweeps(options);
    const Journal journal = Journal::read(journal_file(options.output));
    std::string text;
    for (std::size_t i = 0; i < options.sources.size(); ++i)
        text +=
            "from " + options.sources[i].string() + ": " + counted(merged.cells[i], "cell") + "\n";
    if (merged.shared > 0)
        text += counted(merged.shared, "cell") + " of several journals, each taken from one\n";
    std::vector<std::string> counts;
    for (const auto& [status, members] : by_status(merged.rows, journal))
        counts.push_back(std::to_string(members.size()) + " " + std::string(to_name(status)));
    text += counted(merged.rows.size(), "cell") + (counts.empty() ? "" : ": ") +
            join(counts, ", ") + "\n";
    if (merged.without_row > 0)
        text += counted(merged.without_row, "cell") +
                " that never began, in the journal alone: `isosweep run` plans them\n";
    text +=
        "logs and scripts stay where they are, beside the journals that were merged\n"
        "go on with: isosweep run CONFIG --output " +
        shell_quoted(options.output.string()) + "\nwritten: " + options.output.string() + "\n";
    std::fputs(text.c_str(), stderr);
    return 0;
}

int print_report(const Command& command) {
    const auto text = make_report(command);
    if (!text) return 0;
    if (command.report.empty())
        print(*text);
    else
        write_atomically(command.report, *text);
    return 0;
}

int print_comparison(const Command& command) {
    const CompareOptions& options = command.compare;
    const Comparison comparison = compare(read_sweep(options.a), read_sweep(options.b), options);
    const auto render = [&] {
        switch (options.format) {
            case ComparisonFormat::text:
                return to_text(comparison);
            case ComparisonFormat::markdown:
                return to_markdown(comparison);
            case ComparisonFormat::json:
                return to_json(comparison);
        }
        return std::string();
    };
    if (options.output.empty())
        print(render());
    else
        write_atomically(options.output, render());
    return comparison.counts().is_worse() ? 1 : 0;
}

}  // namespace isosweep
