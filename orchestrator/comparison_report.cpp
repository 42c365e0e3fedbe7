#include <isosweep/text.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>

#include "orchestrator/comparison.h"
#include "orchestrator/printers.h"

namespace isosweep {
namespace json = boost::json;
namespace {

// --- for people ---------------------------------------------------------------------------------

/// How a comparison is put on paper.
struct Style {
    std::string (*table)(const Table& table, const std::vector<ShownColumn>& shown);
    const char* heading;  ///< in front of one
    const char* item;     ///< in front of a line of a list
};

/// A number with its sign; one that rounds to 0 has none.
std::string signed_text(double value, int decimals) {
    const std::string text = format_fixed(value, decimals);
    const bool is_zero = text.find_first_of("123456789") == std::string::npos;
    if (is_zero) return format_fixed(0, decimals);
    return value > 0 ? "+" + text : text;
}

std::string name_of(const Comparison& comparison, Cell cell) {
    if (comparison.has_one_device) cell.device = Device::automatic;
    return describe(cell);
}

double percent(double logarithm) { return 100 * std::expm1(logarithm); }

std::string p_text(double p) { return p < 0.0001 ? "<0.0001" : format_fixed(p, 4); }

/// The marks of both sides: "outliers" in both, "B:throttled" in one.
std::string marks_text(const ComparedCell& cell) {
    std::set<std::string> all = cell.a.marks;
    all.insert(cell.b.marks.begin(), cell.b.marks.end());
    std::vector<std::string> texts;
    for (const std::string& mark : all) {
        const bool in_a = cell.a.marks.contains(mark);
        const bool in_b = cell.b.marks.contains(mark);
        texts.push_back(in_a && in_b ? mark : (in_a ? "A:" : "B:") + mark);
    }
    return join(texts, " ");
}

std::string facts_text(const Comparison& comparison, const Style& style) {
    Table table;
    for (const ComparedFact& fact : comparison.facts) {
        table.add_row();
        table.set("fact", fact.name);
        table.set("a", fact.a);
        table.set("b", fact.b);
        if (fact.differs) table.set("differs", std::string("differs"));
    }
    return style.table(table, {{"fact", "", 0, ShowAs::text},
                               {"a", "A", 0, ShowAs::text},
                               {"b", "B", 0, ShowAs::text},
                               {"differs", ""}});
}

/// What a change of outcome is: "worse", "better", or "other" where neither is ok.
std::string change_of(const ComparedCell& cell) {
    if (cell.a.is_ok) return "worse";
    return cell.b.is_ok ? "better" : "other";
}

/// Cells whose outcome changed, those that are worse first.
std::vector<const ComparedCell*> changed_outcomes(const Comparison& comparison) {
    std::vector<const ComparedCell*> changed;
    for (const char* change : {"worse", "better", "other"})
        for (const ComparedCell& cell : comparison.cells)
            if (cell.a.outcome != cell.b.outcome && change_of(cell) == change)
                changed.push_back(&cell);
    return changed;
}

std::string outcomes_text(const Comparison& comparison, const Style& style) {
    Table table;
    for (const ComparedCell* cell : changed_outcomes(comparison)) {
        table.add_row();
        table.set("change", change_of(*cell));
        table.set("cell", name_of(comparison, cell->cell));
        table.set("a", cell->a.outcome);
        table.set("b", cell->b.outcome);
        table.set("message", cell->b.is_ok ? cell->a.error : cell->b.error);
    }
    if (table.row_count() == 0) return {};
    return style.heading + std::string("Outcomes that changed\n\n") +
           style.table(table, {{"change", "change"},
                               {"cell", "cell", 0, ShowAs::text},
                               {"a", "A"},
                               {"b", "B"},
                               {"message", "message"}}) +
           "\n";
}

std::string times_text(const Comparison& comparison, const Style& style) {
    Table table;
    for (const ComparedCell& cell : comparison.cells) {
        if (!cell.is_timed()) continue;
        table.add_row();
        table.set("cell", name_of(comparison, cell.cell));
        table.set("a", cell.a.median_ms());
        table.set("b", cell.b.median_ms());
        table.set("change", signed_text(100 * (cell.time_ratio() - 1), 2));
        if (cell.shift && cell.shift->interval)
            table.set("interval", signed_text(percent(cell.shift->interval->first), 2) + " to " +
                                      signed_text(percent(cell.shift->interval->second), 2));
        if (cell.shift) table.set("p", p_text(cell.holm_p));
        table.set("verdict", to_text(cell.verdict));
        if (cell.memory_change) table.set("memory", signed_text(100 * *cell.memory_change, 2));
        if (comparison.needs_more_memory(cell)) table.set("more", std::string("MORE"));
        table.set("flags", marks_text(cell));
    }
    if (table.row_count() == 0) return {};
    return style.heading + std::string("Times\n\n") +
           style.table(table, {{"cell", "cell", 0, ShowAs::text},
                               {"a", "A ms"},
                               {"b", "B ms"},
                               {"change", "change %", 2, ShowAs::exact},
                               {"interval", "95 % interval"},
                               {"p", "p (Holm)", 4, ShowAs::exact},
                               {"verdict", "verdict"},
                               {"memory", "memory %", 2, ShowAs::exact},
                               {"more", "memory"},
                               {"flags", "flags"}}) +
           "\n";
}

std::string summary_text(const Comparison& comparison, const Style& style) {
    const Counts counts = comparison.counts();
    std::vector<std::string> verdicts;
    for (const auto& [verdict, name] : EnumNames<Verdict>::value)
        if (counts.of(verdict) > 0)
            verdicts.push_back(std::to_string(counts.of(verdict)) + " " + std::string(name));
    std::string text = counted(comparison.cells.size(), "cell") + " in both";
    if (comparison.cells.size() != counts.timed)
        text += ", " + std::to_string(counts.timed) + " ok in both";
    if (!verdicts.empty()) text += ": " + join(verdicts, ", ");
    if (counts.mean_ratio)
        text += "; B takes " + format_fixed(*counts.mean_ratio, 3) +
                " times as long as A (geometric mean of " + std::to_string(counts.timed) + ")";
    std::vector<std::string> lines = {text};
    const double limit = 100 * comparison.options.threshold;
    if (counts.memory_worse > 0)
        lines.push_back(counted(counts.memory_worse, "cell") + " with a peak of memory more than " +
                        format_exact(limit) + " % higher");
    if (counts.outcomes_worse > 0)
        lines.push_back(counted(counts.outcomes_worse, "cell") + " ok in A and not in B");
    if (counts.outcomes_better > 0)
        lines.push_back(counted(counts.outcomes_better, "cell") + " ok in B and not in A");
    lines.emplace_back(counts.is_worse() ? "B is worse" : "nothing is worse in B");
    for (const std::string& note : comparison.notes) lines.push_back("note: " + note);
    std::string all;
    for (const std::string& line : lines) all += style.item + line + "\n";
    return all + "\n";
}

std::string missing_text(const Comparison& comparison, const std::string& side,
                         const std::vector<PlannedCell>& cells, const Style& style) {
    constexpr std::size_t shown = 10;
    if (cells.empty()) return {};
    std::string text =
        style.heading + ("Only in " + side + ": ") + counted(cells.size(), "cell") + "\n\n";
    for (std::size_t i = 0; i < cells.size() && i < shown; ++i)
        text += style.item + cells[i].key + "  " + name_of(comparison, cells[i].cell) + "\n";
    if (cells.size() > shown)
        text += style.item + ("and " + std::to_string(cells.size() - shown)) + " more\n";
    return text + "\n";
}

std::string written(const Comparison& comparison, const Style& style) {
    std::string text = facts_text(comparison, style) + "\n" + summary_text(comparison, style) +
                       outcomes_text(comparison, style) + times_text(comparison, style) +
                       missing_text(comparison, "A", comparison.only_in_a, style) +
                       missing_text(comparison, "B", comparison.only_in_b, style);
    text.pop_back();  // each part ends with an empty line
    return text;
}

// --- for programs -------------------------------------------------------------------------------

json::value number_or_null(const std::optional<double>& number) {
    return number && std::isfinite(*number) ? json::value(*number) : json::value(nullptr);
}

json::object side_json(const CellResults& side) {
    json::object object{{"key", side.key}, {"outcome", side.outcome}};
    if (!side.is_ok) object["error"] = side.error;
    if (side.is_ok) {
        object["median_ms"] = side.median_ms();
        object["processes"] = side.medians_ms.size();
    }
    object["peak_allocated_bytes"] =
        side.peak_allocated_bytes
            ? json::value(static_cast<std::int64_t>(*side.peak_allocated_bytes))
            : json::value(nullptr);
    object["flags"] = json::array(side.marks.begin(), side.marks.end());
    return object;
}

json::object cell_json(const Comparison& comparison, const ComparedCell& cell) {
    json::object object{{"cell", name_of(comparison, cell.cell)},
                        {"fields", to_json(cell.cell)},
                        {"a", side_json(cell.a)},
                        {"b", side_json(cell.b)}};
    if (!cell.is_timed()) {
        object["verdict"] = nullptr;
        object["outcome_change"] =
            cell.a.outcome == cell.b.outcome ? json::value(nullptr) : json::value(change_of(cell));
        return object;
    }
    object["verdict"] = to_name(cell.verdict);
    object["outcome_change"] = nullptr;
    object["time_ratio"] = cell.time_ratio();
    object["time_ratio_low"] = nullptr;
    object["time_ratio_high"] = nullptr;
    if (cell.shift && cell.shift->interval) {
        object["time_ratio_low"] = std::exp(cell.shift->interval->first);
        object["time_ratio_high"] = std::exp(cell.shift->interval->second);
    }
    object["p"] = cell.shift ? json::value(cell.shift->p) : json::value(nullptr);
    object["p_holm"] = cell.shift ? json::value(cell.holm_p) : json::value(nullptr);
    object["basis"] = to_name(cell.basis);
    object["memory_ratio"] =
        cell.memory_change ? json::value(1 + *cell.memory_change) : json::value(nullptr);
    object["needs_more_memory"] = comparison.needs_more_memory(cell);
    return object;
}

json::array missing_json(const Comparison& comparison, const std::vector<PlannedCell>& cells) {
    json::array array;
    for (const PlannedCell& planned : cells)
        array.push_back({{"key", planned.key}, {"cell", name_of(comparison, planned.cell)}});
    return array;
}

}  // namespace

std::string to_text(const Comparison& comparison) {
    return written(comparison, {[](const Table& table, const std::vector<ShownColumn>& shown) {
                                    return to_text(table, shown);
                                },
                                "", ""});
}

std::string to_markdown(const Comparison& comparison) {
    return written(comparison, {[](const Table& table, const std::vector<ShownColumn>& shown) {
                                    return to_markdown(table, shown);
                                },
                                "### ", "* "});
}

std::string to_json(const Comparison& comparison) {
    const Counts counts = comparison.counts();
    json::object facts_a;
    json::object facts_b;
    for (const ComparedFact& fact : comparison.facts) {
        facts_a[fact.column] = fact.a;
        facts_b[fact.column] = fact.b;
    }
    json::object verdicts;
    for (const auto& [verdict, name] : EnumNames<Verdict>::value)
        verdicts[name] = counts.of(verdict);
    json::array cells;
    for (const ComparedCell& cell : comparison.cells) cells.push_back(cell_json(comparison, cell));
    const json::object all{{"schema", 1},
                           {"a", std::move(facts_a)},
                           {"b", std::move(facts_b)},
                           {"threshold", comparison.options.threshold},
                           {"worse", counts.is_worse()},
                           {"cells_in_both", comparison.cells.size()},
                           {"cells_timed", counts.timed},
                           {"verdicts", std::move(verdicts)},
                           {"mean_time_ratio", number_or_null(counts.mean_ratio)},
                           {"outcomes_worse", counts.outcomes_worse},
                           {"outcomes_better", counts.outcomes_better},
                           {"memory_worse", counts.memory_worse},
                           {"notes", json::array(comparison.notes.begin(), comparison.notes.end())},
                           {"cells", std::move(cells)},
                           {"only_in_a", missing_json(comparison, comparison.only_in_a)},
                           {"only_in_b", missing_json(comparison, comparison.only_in_b)}};
    return json::serialize(all) + "\n";
}

}  // namespace isosweep
