#include "orchestrator/fallback.h"

#include <algorithm>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "orchestrator/errors.h"
#include "orchestrator/keys.h"

namespace isosweep {
namespace {

constexpr std::string_view bisect_mark = "bisect:";
constexpr std::int64_t largest_value = 1'000'000'000;  // as for a config's numbers

/// The axes that a cell's need of memory depends on through a number.
const std::vector<std::string> number_keys = {"batch-size", "context-length", "vocab-size"};

/// Calls `visit(field, member)` for the field with this key.
template <class CellRef, class Visit>
void with_field(CellRef& cell, const std::string& key, Visit&& visit) {
    for_each_field(cell, [&](const Field& field, auto& member) {
        if (field.key() == key) visit(field, member);
    });
}

std::string trimmed_text(const std::string& text) { return std::string(trim(text)); }

/// The axes that a step can set.
std::vector<std::string> settable_keys() {
    std::vector<std::string> keys;
    for_each_axis([&](const Field& field, const auto&) {
        // A model of another size is another cell, not a smaller one.
        if (field.name != "model_size" && field.name != "seed") keys.push_back(field.key());
    });
    return keys;
}

void check_key(const std::string& key, const std::vector<std::string>& known) {
    if (std::find(known.begin(), known.end(), key) == known.end())
        throw BadValue("expected one of " + join(known, ", ") + " in place of '" + key + "'" +
                       did_you_mean(key, known));
}

FallbackStep parse_step(const std::string& text) {
    FallbackStep step;
    if (const auto slash = text.find('/'); slash != std::string::npos) {
        step.key = canonical_key(trimmed_text(text.substr(0, slash)));
        check_key(step.key, number_keys);
        std::string divisor = text.substr(slash + 1);
        if (const auto floor = divisor.find(">="); floor != std::string::npos) {
            step.floor = parse_integer(trimmed_text(divisor.substr(floor + 2)), 1);
            divisor.resize(floor);
        }
        step.divisor = parse_integer(trimmed_text(divisor), 2);
        return step;
    }
    const auto colon = text.find(':');
    step.key = canonical_key(trimmed_text(text.substr(0, colon)));
    check_key(step.key, settable_keys());
    const bool has_value = colon != std::string::npos;
    step.value = has_value ? trimmed_text(text.substr(colon + 1)) : "on";
    Cell trial;
    with_field(trial, step.key, [&](const Field& field, auto& member) {
        if (!has_value && !std::is_same_v<std::decay_t<decltype(member)>, bool>)
            throw BadValue("expected " + step.key + ":VALUE" +
                           (std::is_same_v<std::decay_t<decltype(member)>, std::int64_t>
                                ? " or " + step.key + "/NUMBER"
                                : ""));
        parse_field(step.value, field, member);
    });
    return step;
}

/// The cell after one more use of a step; absent where it changes nothing more.
std::optional<Cell> smaller(const Cell& cell, const FallbackStep& step) {
    Cell next = cell;
    bool changed = false;
    with_field(next, step.key, [&](const Field& field, auto& member) {
        if constexpr (std::is_same_v<std::decay_t<decltype(member)>, std::int64_t>)
            if (step.divisor != 0) {
                member /= step.divisor;
                changed = member >= std::max(step.floor, field.minimum);
                return;
            }
        const auto before = member;
        parse_field(step.value, field, member);
        changed = !(member == before);
    });
    return changed ? std::optional(next) : std::nullopt;
}

PlannedCell planned(const Cell& cell) { return {key_of(cell), cell}; }

/// Want of memory, also where it was only foreseen.
bool lacks_memory(Status status) { return status == Status::oom_gpu || status == Status::skipped; }

FallbackChain follow_steps(const FallbackRule& rule, const PlannedCell& requested,
                           const StatusOf& status_of) {
    FallbackChain chain;
    Cell current = requested.cell;
    for (const FallbackStep& step : rule.steps)
        while (const auto cell = smaller(current, step)) {
            PlannedCell next = planned(*cell);
            const auto status = status_of(next.key);
            if (!status) {
                chain.next = std::move(next);
                return chain;
            }
            if (*status == Status::ok) chain.fits = next;
            chain.tried.push_back(std::move(next));
            if (*status == Status::unsupported) break;
            if (!lacks_memory(*status)) return chain;
            current = *cell;
        }
    return chain;
}

FallbackChain follow_search(const FallbackRule& rule, const PlannedCell& requested, Status status,
                            const StatusOf& status_of) {
    FallbackChain chain;
    std::int64_t fits = 0;  // the largest value that does
    std::int64_t lacks = largest_value + 1;
    with_field(requested.cell, rule.bisect, [&](const Field&, const auto& value) {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::int64_t>)
            (status == Status::ok ? fits : lacks) = value;
    });
    std::optional<PlannedCell> best;
    if (status == Status::ok) best = requested;
    while (lacks - fits > 1) {
        std::int64_t value = fits + (lacks - fits) / 2;
        if (lacks > largest_value) value = std::min(2 * fits, largest_value);
        Cell cell = requested.cell;
        with_field(cell, rule.bisect, [&](const Field&, auto& member) {
            if constexpr (std::is_same_v<std::decay_t<decltype(member)>, std::int64_t>)
                member = value;
        });
        PlannedCell next = planned(cell);
        const auto found = status_of(next.key);
        if (!found) {
            chain.next = std::move(next);
            return chain;
        }
        chain.tried.push_back(next);
        if (*found == Status::ok) {
            fits = value;
            best = std::move(next);
        } else if (lacks_memory(*found)) {
            lacks = value;
        } else {
            return chain;  // what failed otherwise says nothing of memory
        }
    }
    chain.fits = std::move(best);
    return chain;
}

StatusOf statuses_in(const Journal& journal) {
    return [&journal](const std::string& key) -> std::optional<Status> {
        const CellHistory& history = journal.history(key);
        if (history.recorded) return history.recorded->status;
        if (history.last && history.last->status == Status::skipped) return Status::skipped;
        return std::nullopt;
    };
}

/// Calls `visit(planned cell, its chain)` for each cell from which others can follow.
template <class Plan, class Visit>
void for_each_chain(Plan& plan, const Journal& journal, const FallbackRule& rule, Visit&& visit) {
    const StatusOf status_of = statuses_in(journal);
    for (auto& requested : plan)
        if (const auto status = status_of(requested.key))
            visit(requested, follow(rule, requested, *status, status_of));
}

}  // namespace

FallbackRule parse_fallback(const std::string& text) {
    FallbackRule rule;
    if (text.empty() || text == "none") return rule;
    rule.text = text;
    for (const std::string& part : split_list(text)) rule.steps.push_back(parse_step(part));
    return rule;
}

FallbackRule parse_bisect(const std::string& text) {
    FallbackRule rule;
    if (text.empty() || text == "none") return rule;
    rule.bisect = canonical_key(text);
    check_key(rule.bisect, number_keys);
    rule.text = std::string(bisect_mark) + rule.bisect;
    return rule;
}

FallbackRule read_rule(const std::string& text) {
    return text.starts_with(bisect_mark) ? parse_bisect(text.substr(bisect_mark.size()))
                                         : parse_fallback(text);
}

FallbackChain follow(const FallbackRule& rule, const PlannedCell& requested, Status status,
                     const StatusOf& status_of) {
    if (!rule.bisect.empty() && (status == Status::ok || lacks_memory(status)))
        return follow_search(rule, requested, status, status_of);
    if (lacks_memory(status)) return follow_steps(rule, requested, status_of);
    return {};
}

std::vector<PlannedCell> with_fallbacks(std::vector<PlannedCell> plan, const Journal& journal) {
    std::vector<PlannedCell> fallbacks;
    std::unordered_set<std::string> known;
    for (const std::string& text : journal.fallback_rules()) {
        if (known.empty())
            for (const PlannedCell& cell : plan) known.insert(cell.key);
        FallbackRule rule;
        try {
            rule = read_rule(text);
        } catch (const BadValue& problem) {
            throw ResultsError(journal.file().string() + ": the fallback rule '" + text +
                               "' cannot be read: " + problem.what() +
                               "; use the program that wrote it");
        }
        for_each_chain(plan, journal, rule, [&](PlannedCell& requested, FallbackChain chain) {
            if (chain.fits && requested.fallback_key.empty())
                requested.fallback_key = chain.fits->key;
            // One that was broken off has its row, too.
            if (chain.next && journal.history(chain.next->key).starts > 0)
                chain.tried.push_back(*chain.next);
            for (PlannedCell& cell : chain.tried) {
                if (!known.insert(cell.key).second) continue;
                cell.fallback_of = requested.key;
                fallbacks.push_back(std::move(cell));
            }
        });
    }
    plan.insert(plan.end(), fallbacks.begin(), fallbacks.end());
    return plan;
}

std::vector<PlannedCell> owed_fallbacks(const std::vector<PlannedCell>& plan,
                                        const Journal& journal, const FallbackRule& rule) {
    std::vector<PlannedCell> owed;
    std::unordered_set<std::string> known;
    for_each_chain(plan, journal, rule, [&](const PlannedCell&, FallbackChain chain) {
        if (chain.next && known.insert(chain.next->key).second)
            owed.push_back(std::move(*chain.next));
    });
    return owed;
}

}  // namespace isosweep
