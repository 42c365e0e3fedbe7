#include "orchestrator/merge.h"

#include <isosweep/statistics.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "orchestrator/clock.h"
#include "orchestrator/errors.h"
#include "orchestrator/files.h"
#include "orchestrator/journal.h"
#include "orchestrator/log.h"
#include "orchestrator/views.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

/// What tells an attempt from all others: worker, number, begin.
using AttemptId = std::tuple<std::string, std::int64_t, std::int64_t>;

AttemptId id_of(const EndedAttempt& attempt) {
    return {std::string(attempt.token), attempt.number, attempt.start_ms};
}

std::string text_member(const json::object& record, std::string_view name) {
    const json::value* const value = record.if_contains(name);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

AttemptId id_of_end(const json::object& record) {
    return {text_member(record, "token"), record.at("attempt").as_int64(),
            record.at("start_ms").as_int64()};
}

/// A line with what its place says.
struct Line {
    std::string_view text;  ///< with its newline
    json::object record;
    std::string kind;
    std::string key;          ///< of the cell; empty where it is of none
    std::size_t setting = 0;  ///< which one is in force behind it
};

/// The records that bring a setting into force.
struct SettingRecords {
    json::object parts;
    std::optional<json::object> hello;
};

/// A source, read.
struct Source {
    fs::path file;
    Journal journal;
    std::vector<Line> lines;
    std::vector<SettingRecords> settings;  ///< as the journal's
    std::unordered_map<std::string, std::set<AttemptId>> ends;
    std::unordered_map<std::string, Cell> cells;  ///< as they were last asked for
};

json::object as_setting_record(json::object record) {
    if (text_member(record, "record") == "header") record["time"] = text_member(record, "created");
    record.erase("schema");
    record.erase("created");
    record["record"] = "setting";
    return record;
}

Cell read_cell(const Line& start, const fs::path& file) {
    try {
        const json::value* const cell = start.record.if_contains("cell");
        return cell_from_json(cell && cell->is_object() ? cell->get_object() : json::object());
    } catch (const BadValue& problem) {
        throw UsageError(file.string() + ": cell " + start.key + ": " + problem.what() +
                         "; use the program that wrote it");
    }
}

Source read_source(const MergeSource& given) {
    Source source{given.file, Journal::watch(given.file), {}, {}, {}, {}};
    std::string_view rest = given.lines;
    while (!rest.empty()) {
        Line line;
        line.text = rest.substr(0, rest.find('\n') + 1);
        rest.remove_prefix(line.text.size());
        source.journal.load(line.text);
        line.record = json::parse(line.text).as_object();
        line.kind = text_member(line.record, "record");
        line.key = text_member(line.record, "key");
        const std::size_t settings = source.journal.settings().size();
        line.setting = settings == 0 ? 0 : settings - 1;
        if (line.kind == "header") source.settings.clear();
        if (line.kind == "header" || line.kind == "setting")
            source.settings.push_back({as_setting_record(line.record), std::nullopt});
        if (line.kind == "hello") {
            // The second hello of a setting begins another one.
            if (source.settings.size() < settings)
                source.settings.push_back(source.settings.back());
            source.settings.back().hello = line.record;
        }
        if (line.kind == "end") source.ends[line.key].insert(id_of_end(line.record));
        if (line.kind == "start") source.cells[line.key] = read_cell(line, given.file);
        source.lines.push_back(std::move(line));
    }
    return source;
}

/// "ok 8.170 ms (results/a/journal.jsonl)".
std::string recorded_text(const Source& source, const std::string& key) {
    const AttemptId recorded = id_of(*source.journal.history(key).recorded);
    Outcome outcome;
    for (const Line& line : source.lines)
        if (line.kind == "end" && line.key == key && id_of_end(line.record) == recorded)
            outcome = outcome_from_json(line.record.at("outcome").as_object());
    std::string text(to_name(outcome.status));
    if (const auto statistics = summarize(outcome.measurement, "samples_ms"))
        text += " " + format_fixed(statistics->mean, 3) + " ms";
    return text + " (" + source.file.string() + ")";
}

/// Whose records of a cell are taken.
enum class Choice { one, other, undecided };

Choice prefer_one(const EndedAttempt& one, const EndedAttempt& other, Prefer prefer) {
    switch (prefer) {
        case Prefer::ok:
            return one.status != Status::ok && other.status == Status::ok ? Choice::other
                                                                          : Choice::one;
        case Prefer::first:
            return Choice::one;
        case Prefer::last:
            return Choice::other;
        case Prefer::newest:
            return other.start_ms > one.start_ms ? Choice::other : Choice::one;
    }
    return Choice::undecided;
}

Choice choose(const Source& one, const Source& other, const std::string& key,
              std::optional<Prefer> prefer) {
    const auto& recorded = one.journal.history(key).recorded;
    const auto& rival = other.journal.history(key).recorded;
    if (!rival) return Choice::one;
    if (!recorded) return Choice::other;
    const std::set<AttemptId>& ends = one.ends.at(key);
    const std::set<AttemptId>& rival_ends = other.ends.at(key);
    const bool knows_rival = ends.contains(id_of(*rival));
    const bool is_known = rival_ends.contains(id_of(*recorded));
    // Copies of one sweep: the one that knows more went on.
    if (knows_rival && is_known)
        return rival_ends.size() > ends.size() ? Choice::other : Choice::one;
    if (knows_rival) return Choice::one;
    if (is_known) return Choice::other;
    return prefer ? prefer_one(*recorded, *rival, *prefer) : Choice::undecided;
}

/// The name of a sweep among others: its first worker's token.
std::string origin_of(const Source& source) {
    for (const Line& line : source.lines)
        if (line.kind == "worker" && !line.record.contains("origin"))
            return text_member(line.record, "token");
    return {};
}

/// A worker's record with the sweep that it worked for: nobody else shall look for its process, or
/// take its slot for his own.
json::object with_origin(json::object record, const std::string& origin) {
    if (record.contains("origin")) return record;
    record.erase("group");
    record["origin"] = origin;
    return record;
}

/// The end that an attempt lacks.
json::object end_of_open(const std::string& key, const CellHistory& history) {
    Outcome outcome;
    outcome.status = Status::interrupted;
    outcome.message = "this attempt had not ended when its journal was merged";
    return {{"record", "end"},
            {"time", format_utc(history.started_ms)},
            {"key", key},
            {"attempt", history.starts},
            {"token", history.token},
            {"start_ms", history.started_ms},
            {"elapsed_ms", 0},
            {"decision", to_name(Decision::again)},
            {"outcome", to_json(outcome)}};
}

/// Writes records so that each end stands behind the setting that it was measured with.
class Writer {
  public:
    void header(const Source& source) {
        const auto header = std::find_if(source.lines.begin(), source.lines.end(),
                                         [](const Line& line) { return line.kind == "header"; });
        lines_ += header->text;
        in_force_ = source.journal.settings().front();
        in_force_.worker.reset();
        in_force_.torch.reset();
    }
    void add(std::string_view line) { lines_ += line; }
    void add(const json::object& record) { lines_ += json::serialize(record) + "\n"; }
    /// Adds a line that no earlier source had, as copies of one sweep have them.
    void add_once(const std::string& line) {
        if (!known_.contains(line)) lines_ += line;
        of_source_.push_back(line);
    }
    void end_source() {
        known_.insert(of_source_.begin(), of_source_.end());
        of_source_.clear();
    }
    void bring_into_force(const Setting& setting, const SettingRecords& records) {
        if (setting == in_force_) return;
        Setting before_hello = setting;
        before_hello.worker.reset();
        before_hello.torch.reset();
        if (before_hello != in_force_) add(records.parts);
        if (records.hello) add(*records.hello);
        in_force_ = setting;
    }
    std::string take() { return std::move(lines_); }

  private:
    std::string lines_;
    std::unordered_set<std::string> known_;
    std::vector<std::string> of_source_;
    Setting in_force_;
};

/// By key, the index of the source whose records are taken.
using Owners = std::unordered_map<std::string, std::size_t>;

/// Writes what is taken of one source.
void write_source(Writer& writer, const Source& source, const Owners& owners, std::size_t index,
                  std::set<std::string>& rules) {
    const auto is_taken = [&](const std::string& key) {
        const auto owner = owners.find(key);
        return owner == owners.end() || owner->second == index;
    };
    const std::string origin = origin_of(source);
    std::unordered_map<std::string, std::set<AttemptId>> written;
    for (const Line& line : source.lines) {
        if (!is_taken(line.key)) continue;
        if (line.kind == "header" || line.kind == "setting" || line.kind == "hello") continue;
        if (line.kind == "worker") {
            writer.add_once(json::serialize(with_origin(line.record, origin)) + "\n");
        } else if (line.kind == "fallback") {
            if (rules.insert(text_member(line.record, "rule")).second) writer.add(line.text);
        } else if (line.kind == "end") {
            if (!written[line.key].insert(id_of_end(line.record)).second) continue;
            writer.bring_into_force(source.journal.settings().at(line.setting),
                                    source.settings.at(line.setting));
            writer.add(line.text);
        } else if (line.kind == "start") {
            writer.add(line.text);
        } else {
            writer.add_once(std::string(line.text));
        }
    }
    for (const Line& line : source.lines) {
        const CellHistory& history = source.journal.history(line.key);
        const bool is_open = line.kind == "start" && history.open && is_taken(line.key) &&
                             text_member(line.record, "token") == history.token &&
                             line.record.at("attempt").as_int64() == history.starts;
        if (!is_open) continue;
        writer.bring_into_force(source.journal.settings().back(), source.settings.back());
        writer.add(end_of_open(line.key, history));
    }
    writer.end_source();
}

void check_output(const fs::path& output) {
    const fs::path folder = fs::path(output).replace_extension();
    const std::string what = "--output = '" + output.string() + "': ";
    std::error_code problem;
    if (fs::exists(output, problem) || fs::exists(folder / "journal.jsonl", problem))
        throw UsageError(what + "there is such a sweep already; choose another name");
    if (fs::exists(folder, problem) && !fs::exists(folder / "lock", problem) &&
        !(fs::is_directory(folder, problem) && fs::is_empty(folder, problem)))
        throw UsageError(what + "its folder " + folder.string() +
                         " holds something else; choose another name");
}

std::vector<MergeSource> read_sources(const std::vector<fs::path>& named) {
    std::vector<MergeSource> sources;
    for (const fs::path& name : named) {
        const fs::path file = journal_file(name);
        if (!fs::is_regular_file(file))
            throw UsageError("'" + name.string() +
                             "': expected a sweep: its CSV, its folder or its journal.jsonl");
        for (const MergeSource& other : sources)
            if (fs::equivalent(file, other.file))
                throw UsageError("'" + name.string() + "': this journal is given twice");
        const LockState lock = OutputLock::look(file.parent_path() / "lock");
        if (lock.is_held)
            log::notice(file.string() + ": a run is going on (" + lock.holder +
                        "); what it has recorded so far is taken");
        std::string lines = read_file(file);
        lines.resize(lines.rfind('\n') + 1);  // a last line may just be written
        sources.push_back({file, std::move(lines)});
    }
    return sources;
}

void refuse_conflicts(const std::vector<MergeConflict>& conflicts) {
    constexpr std::size_t shown = 10;
    std::string text;
    for (std::size_t i = 0; i < conflicts.size() && i < shown; ++i)
        text += "  " + conflicts[i].key + "  " + conflicts[i].cell + ": " + conflicts[i].one +
                ", " + conflicts[i].other + "\n";
    if (conflicts.size() > shown)
        text += "  and " + std::to_string(conflicts.size() - shown) + " more\n";
    std::fputs(text.c_str(), stderr);
    throw UsageError(std::to_string(conflicts.size()) +
                     (conflicts.size() == 1 ? " cell has" : " cells have") +
                     " two outcomes: take one with --prefer ok, first, last or newest, or keep the "
                     "sweeps apart and see what changed with `isosweep compare`");
}

}  // namespace

MergedJournal merge_journals(const std::vector<MergeSource>& given, std::optional<Prefer> prefer,
                             std::int64_t now_ms) {
    std::vector<Source> sources;
    for (const MergeSource& source : given) sources.push_back(read_source(source));

    MergedJournal merged;
    merged.cells.resize(sources.size());
    Owners owners;
    std::vector<std::string> keys;  // by first appearance
    std::unordered_set<std::string> shared;
    for (std::size_t index = 0; index < sources.size(); ++index) {
        const Source& source = sources[index];
        std::unordered_set<std::string> seen;
        for (const Line& line : source.lines) {
            if (!source.journal.cells().contains(line.key) || !seen.insert(line.key).second)
                continue;
            const auto [owner, is_new] = owners.emplace(line.key, index);
            if (is_new) {
                keys.push_back(line.key);
                continue;
            }
            shared.insert(line.key);
            const Source& rival = sources[owner->second];
            const Choice choice = choose(rival, source, line.key, prefer);
            if (choice == Choice::other) owner->second = index;
            if (choice != Choice::undecided) continue;
            const auto cell = rival.cells.find(line.key);
            merged.conflicts.push_back(
                {line.key, cell == rival.cells.end() ? "" : describe(cell->second),
                 recorded_text(rival, line.key), recorded_text(source, line.key)});
        }
    }
    merged.shared = shared.size();

    const Source* first = nullptr;
    Writer writer;
    std::set<std::string> rules;
    for (std::size_t index = 0; index < sources.size(); ++index) {
        const Source& source = sources[index];
        if (!source.journal.setting()) continue;  // killed before it wrote its first line
        if (!first) {
            first = &source;
            writer.header(source);
        } else if (const auto difference =
                       find_difference(*first->journal.setting(), *source.journal.setting());
                   difference && !merged.mixture) {
            merged.mixture = MergeDifference{*difference, first->file, source.file};
        }
        write_source(writer, source, owners, index, rules);
    }
    if (!first)
        throw UsageError(given.front().file.string() + ": there is nothing in this journal");
    json::array names;
    for (const MergeSource& source : given) names.emplace_back(source.file.string());
    writer.add({{"record", "merge"}, {"time", format_utc(now_ms)}, {"sources", names}});
    merged.lines = writer.take();

    for (const std::string& key : keys) {
        const Source& source = sources[owners.at(key)];
        ++merged.cells[owners.at(key)];
        if (const auto cell = source.cells.find(key); cell != source.cells.end())
            merged.rows.push_back({key, cell->second});
        else
            ++merged.without_row;
    }
    return merged;
}

MergedJournal merge_sweeps(const MergeOptions& options) {
    check_output(options.output);
    MergedJournal merged =
        merge_journals(read_sources(options.sources), options.prefer, unix_now_ms());
    if (merged.mixture && !options.allow_mixed)
        throw UsageError(merged.mixture->one.string() + " was measured with " +
                         merged.mixture->difference.part + " '" + merged.mixture->difference.was +
                         "', " + merged.mixture->other.string() + " with '" +
                         merged.mixture->difference.is +
                         "': have rows of both with --allow-mixed, or see what changed with "
                         "`isosweep compare`");
    if (!merged.conflicts.empty()) refuse_conflicts(merged.conflicts);

    const fs::path folder = fs::path(options.output).replace_extension();
    make_folder(folder);
    const OutputLock lock(folder / "lock");
    check_output(options.output);  // somebody may have been faster
    write_atomically(folder / "journal.jsonl", merged.lines);
    const Journal journal = Journal::read(folder / "journal.jsonl");
    write_atomically(options.output,
                     to_csv(apply_view(make_cells_table(merged.rows, journal), View::cells)));
    return merged;
}

}  // namespace isosweep
