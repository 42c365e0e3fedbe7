#include "orchestrator/comparison.h"

#include <isosweep/statistics.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <map>
#include <sstream>

#include "orchestrator/errors.h"
#include "orchestrator/view_parts.h"

namespace isosweep {
namespace json = boost::json;
namespace {

// --- which cells are the same -------------------------------------------------------------------

/// The cells of one sweep that are the same but for the replicate.
struct Group {
    std::string identity;  ///< equal for the same cells of another sweep
    Cell cell;
    std::vector<std::size_t> rows;
};

/// The groups of a sweep in the order of its rows.
struct Groups {
    std::vector<Group> list;
    std::map<std::string, std::size_t> places;  ///< in the list, by identity

    const Group* find(const std::string& identity) const {
        const auto place = places.find(identity);
        return place == places.end() ? nullptr : &list[place->second];
    }
};

/// A field as a person writes it; "none" for an absent one.
std::string field_text(const json::object& fields, const std::string& name) {
    const json::value* const value = fields.if_contains(name);
    return value ? to_text(*value) : "none";
}

/// Refuses names that are a field of no cell.
void check_fields(const RecordedSweep& a, const RecordedSweep& b, const CompareOptions& options) {
    std::set<std::string> known = {"gpu_memory_limit"};
    for (const RecordedSweep* sweep : {&a, &b})
        for (const PlannedCell& planned : sweep->cells)
            for (const auto& field : to_json(planned.cell)) known.emplace(field.key());
    const auto check = [&](const char* flag, const std::string& name) {
        if (known.contains(name)) return;
        const std::vector<std::string> names(known.begin(), known.end());
        throw UsageError(std::string(flag) + ": no cell has a field '" + name +
                         "': expected one of " + join(names, ", ") + did_you_mean(name, names));
    };
    for (const std::string& name : options.ignored) check("--ignore", name);
    for (const AxisPair& pair : options.by) check("--by", pair.axis);
}

/// Groups a sweep's cells. `wanted` are the values of --by that this sweep's cells have to have.
Groups group_cells(const RecordedSweep& sweep, const CompareOptions& options,
                   const std::map<std::string, std::string>& wanted) {
    Groups groups;
    std::map<std::string, std::set<std::string>> there;
    for (std::size_t row = 0; row < sweep.cells.size(); ++row) {
        const Cell& cell = sweep.cells[row].cell;
        json::object fields = to_json(cell);
        bool is_wanted = true;
        for (const auto& [name, text] : wanted) {
            const std::string is = field_text(fields, name);
            there[name].insert(is);
            is_wanted = is_wanted && is == text;
            fields.erase(name);
        }
        if (!is_wanted) continue;
        for (const std::string& name : options.ignored) fields.erase(name);
        fields.erase("replicate");
        const std::string identity = json::serialize(fields);
        const auto [place, is_new] = groups.places.emplace(identity, groups.list.size());
        if (is_new) groups.list.push_back({identity, cell_from_json(fields), {}});
        Group& group = groups.list[place->second];
        for (const std::size_t other : group.rows)
            if (sweep.cells[other].cell.replicate == cell.replicate)
                throw UsageError(sweep.name + ": two cells are the same in what is compared: " +
                                 describe(sweep.cells[other].cell) + "; and " + describe(cell) +
                                 ": take one of them with --by FIELD=A:B, or ignore less");
        group.rows.push_back(row);
    }
    if (!groups.list.empty()) return groups;
    std::string has;
    for (const auto& [name, texts] : there)
        has += "; " + name + " is " + join(std::vector(texts.begin(), texts.end()), ", ");
    throw UsageError(sweep.name + ": no cell is as --by asks for" + has);
}

// --- what a sweep has of them -------------------------------------------------------------------

/// Mean and deviation of what a CSV tells of a row's samples.
std::optional<Moments> moments_at(const Table& table, std::size_t row) {
    const auto n = number_at(table, row, "samples");
    const auto mean = number_at(table, row, "mean_time_ms");
    const auto deviation = number_at(table, row, "sample_std_time_ms");
    if (!n || !mean || !deviation) return std::nullopt;
    const double autocorrelation = number_at(table, row, "autocorrelation").value_or(0);
    return Moments{*n, *mean, *deviation, std::clamp(autocorrelation, 0.0, 0.9)};
}

CellResults results_of(const RecordedSweep& sweep, const Group& group) {
    CellResults results;
    results.key = sweep.cells[group.rows.front()].key;
    results.outcome = "ok";
    std::size_t not_ok = 0;
    for (const std::size_t row : group.rows) {
        const Table& table = sweep.table;
        std::istringstream flags(text_at(table, row, "flags"));
        for (std::string flag; flags >> flag;) results.marks.insert(flag);
        if (const std::string status = text_at(table, row, "status"); status != "ok") {
            if (++not_ok > 1) continue;
            results.outcome = status;
            results.error = text_at(table, row, "message");
            continue;
        }
        if (sweep.journal)
            results.samples_ms.push_back(samples_ms(*sweep.journal, sweep.cells[row].key));
        if (const auto moments = moments_at(table, row)) results.moments.push_back(*moments);
        if (const auto median = number_at(table, row, "median_time_ms"))
            results.medians_ms.push_back(*median);
        if (const auto peak = number_at(table, row, "peak_allocated_bytes"))
            results.peak_allocated_bytes =
                std::max(*peak, results.peak_allocated_bytes.value_or(0));
        if (text_at(table, row, "regime") == "host_bound") results.marks.insert("host_bound");
    }
    results.is_ok = not_ok == 0;
    if (not_ok > 0 && group.rows.size() > 1)
        results.outcome +=
            " (" + std::to_string(not_ok) + " of " + std::to_string(group.rows.size()) + ")";
    return results;
}

// --- how they differ ----------------------------------------------------------------------------

/// All series one behind the other.
std::vector<double> joined(const std::vector<std::vector<double>>& series) {
    std::vector<double> all;
    for (const auto& one : series) all.insert(all.end(), one.begin(), one.end());
    return all;
}

/// Mean and deviation of all series together.
Moments joined(const std::vector<Moments>& series) {
    Moments all;
    for (const Moments& one : series) {
        all.n += one.n;
        all.mean += one.n * one.mean;
        all.autocorrelation = std::max(all.autocorrelation, one.autocorrelation);
    }
    all.mean /= all.n;
    double squares = 0;
    for (const Moments& one : series)
        squares += (one.n - 1) * one.sample_std * one.sample_std +
                   one.n * (one.mean - all.mean) * (one.mean - all.mean);
    all.sample_std = std::sqrt(squares / (all.n - 1));
    return all;
}

/// Finds by how much two cells that are ok differ: their times from the best that there is, which
/// is the medians of at least three processes a side, the samples, or what a CSV tells of them.
void compare_measured(ComparedCell& cell) {
    constexpr std::size_t enough_processes = 3;
    const CellResults& a = cell.a;
    const CellResults& b = cell.b;
    const std::size_t replicates = std::min(a.medians_ms.size(), b.medians_ms.size());
    if (replicates >= enough_processes) {
        cell.basis = Basis::processes;
        cell.shift = shift_of_moments(*moments_of(a.medians_ms), *moments_of(b.medians_ms));
    } else if (!a.samples_ms.empty() && !b.samples_ms.empty()) {
        cell.basis = Basis::samples;
        cell.shift = shift_of_samples(joined(a.samples_ms), joined(b.samples_ms));
    } else {
        cell.basis = Basis::statistics;
        if (!a.moments.empty() && !b.moments.empty())
            cell.shift = shift_of_moments(joined(a.moments), joined(b.moments));
    }
    if (a.peak_allocated_bytes.value_or(0) > 0 && b.peak_allocated_bytes)
        cell.memory_change = *b.peak_allocated_bytes / *a.peak_allocated_bytes - 1;
}

void judge_all(std::vector<ComparedCell>& cells, double threshold) {
    std::vector<double> p;
    for (const ComparedCell& cell : cells)
        if (cell.shift) p.push_back(cell.shift->p);
    const std::vector<double> adjusted = holm(p);
    std::size_t next = 0;
    for (ComparedCell& cell : cells) {
        if (!cell.shift) continue;
        cell.holm_p = adjusted[next++];
        cell.verdict = judge(*cell.shift, cell.holm_p, threshold);
    }
}

// --- the two sweeps -----------------------------------------------------------------------------

/// The different texts of a column, joined.
std::string texts_of(const Table& table, const std::string& column) {
    std::set<std::string> texts;
    for (std::size_t row = 0; row < table.row_count(); ++row)
        if (const std::string text = text_at(table, row, column); !text.empty()) texts.insert(text);
    return join(std::vector(texts.begin(), texts.end()), ", ");
}

struct FactColumn {
    const char* name;
    const char* column;
    bool is_machine;  ///< where it differs, times say nothing about the builds
};
constexpr FactColumn fact_columns[] = {{"device", "device", true},
                                       {"GPU", "gpu", true},
                                       {"driver", "driver", true},
                                       {"processor", "device_name", true},
                                       {"torch", "torch", false},
                                       {"worker", "worker_build", false},
                                       {"isosweep", "isosweep_build", false},
                                       {"isolation", "isolation", false}};

/// What both sweeps were measured with. \throws UsageError for different machines
std::vector<ComparedFact> compare_facts(const RecordedSweep& a, const RecordedSweep& b,
                                        const CompareOptions& options) {
    std::vector<ComparedFact> facts;
    const auto source = [](const RecordedSweep& sweep) {
        return std::to_string(sweep.cells.size()) + " cells, " +
               (sweep.journal ? "samples from the journal" : "statistics from the CSV");
    };
    facts.push_back({"sweep", "sweep", a.name, b.name});
    facts.push_back({"source", "source", source(a), source(b)});
    for (const FactColumn& fact : fact_columns) {
        const std::string of_a = texts_of(a.table, fact.column);
        const std::string of_b = texts_of(b.table, fact.column);
        // What one does not tell may be the same.
        const bool differ = of_a != of_b && !of_a.empty() && !of_b.empty();
        if (fact.is_machine && differ && !options.force)
            throw UsageError(a.name + " and " + b.name +
                             " are from different machines: " + fact.name + " '" + of_a +
                             "' and '" + of_b + "'; compare them all the same with --force");
        if (!of_a.empty() || !of_b.empty())
            facts.push_back({fact.name, fact.column, of_a, of_b, differ});
    }
    return facts;
}

std::vector<std::string> find_notes(const RecordedSweep& a, const RecordedSweep& b,
                                    const std::vector<ComparedCell>& cells) {
    std::vector<std::string> notes;
    for (const RecordedSweep* sweep : {&a, &b})
        if (!sweep->journal)
            notes.push_back(sweep->name +
                            " has no journal beside it, so times are judged by mean, deviation "
                            "and number of the samples");
    const std::string gpu_a = texts_of(a.table, "gpu_uuid");
    const std::string gpu_b = texts_of(b.table, "gpu_uuid");
    if (gpu_a != gpu_b && !gpu_a.empty() && !gpu_b.empty())
        notes.emplace_back(
            "the GPUs are not the same ones, so the machines may differ in what the kind of GPU "
            "does not tell");
    std::size_t host_bound = 0;
    std::size_t single = 0;
    for (const ComparedCell& cell : cells) {
        if (!cell.is_timed()) continue;
        host_bound += cell.a.marks.contains("host_bound") || cell.b.marks.contains("host_bound");
        const bool is_claimed = cell.verdict == Verdict::faster || cell.verdict == Verdict::slower;
        single += is_claimed && cell.basis != Basis::processes;
    }
    if (host_bound > 0)
        notes.push_back("cells that are host_bound: " + std::to_string(host_bound) +
                        "; such times vary from process to process and from machine to machine");
    if (single > 0)
        notes.push_back(
            "changes that rest on less than 3 processes a side: " + std::to_string(single) +
            "; replicates = 3 or more tells a change from a process of its own");
    return notes;
}

}  // namespace

double CellResults::median_ms() const { return summarize(medians_ms)->median; }

double ComparedCell::time_ratio() const {
    return shift ? std::exp(shift->estimate) : b.median_ms() / a.median_ms();
}

Counts Comparison::counts() const {
    Counts counts;
    double logarithms = 0;
    for (const ComparedCell& cell : cells) {
        counts.outcomes_worse += cell.a.is_ok && !cell.b.is_ok;
        counts.outcomes_better += !cell.a.is_ok && cell.b.is_ok;
        counts.memory_worse += needs_more_memory(cell);
        if (!cell.is_timed()) continue;
        ++counts.timed;
        ++counts.verdicts[cell.verdict];
        logarithms += std::log(cell.time_ratio());
    }
    if (counts.timed > 0)
        counts.mean_ratio = std::exp(logarithms / static_cast<double>(counts.timed));
    return counts;
}

Comparison compare(const RecordedSweep& a, const RecordedSweep& b, const CompareOptions& options) {
    check_fields(a, b, options);
    std::map<std::string, std::string> wanted_of_a;
    std::map<std::string, std::string> wanted_of_b;
    for (const AxisPair& pair : options.by) {
        wanted_of_a[pair.axis] = pair.a;
        wanted_of_b[pair.axis] = pair.b;
    }
    const Groups groups_a = group_cells(a, options, wanted_of_a);
    const Groups groups_b = group_cells(b, options, wanted_of_b);
    Comparison comparison;
    comparison.options = options;
    for (const Group& group : groups_a.list) {
        const Group* const other = groups_b.find(group.identity);
        if (!other) {
            comparison.only_in_a.push_back({a.cells[group.rows.front()].key, group.cell});
            continue;
        }
        ComparedCell cell;
        cell.cell = group.cell;
        cell.a = results_of(a, group);
        cell.b = results_of(b, *other);
        if (cell.is_timed()) compare_measured(cell);
        comparison.cells.push_back(std::move(cell));
    }
    for (const Group& group : groups_b.list)
        if (!groups_a.find(group.identity))
            comparison.only_in_b.push_back({b.cells[group.rows.front()].key, group.cell});
    if (comparison.cells.empty())
        throw UsageError(a.name + " and " + b.name + " have no cell in common (" +
                         describe(groups_a.list.front().cell) + "; and " +
                         describe(groups_b.list.front().cell) +
                         "): leave out with --ignore what is meant to differ");
    comparison.facts = compare_facts(a, b, options);
    comparison.has_one_device = texts_of(a.table, "device") == texts_of(b.table, "device") &&
                                texts_of(a.table, "device").find(',') == std::string::npos;
    judge_all(comparison.cells, options.threshold);
    comparison.notes = find_notes(a, b, comparison.cells);
    return comparison;
}

}  // namespace isosweep
