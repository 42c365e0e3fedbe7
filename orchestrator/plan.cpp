#include "orchestrator/plan.h"

#include <isosweep/flops.h>

#include <algorithm>
#include <charconv>
#include <unordered_set>
#include <utility>

#include "orchestrator/errors.h"
#include "orchestrator/eta.h"

namespace isosweep {
namespace {

constexpr double max_cells = 1e6;

/// One axis with its values, and how to put one into a cell.
struct Axis {
    std::string key;
    std::vector<std::string> values;
};

const std::vector<std::string>* find_values(const AxisValues& axes, const std::string& key) {
    for (const auto& [known, values] : axes)
        if (known == key) return &values;
    return nullptr;
}

void assign(Cell& cell, const std::string& key, const std::string& text, const Grid& grid) {
    if (key == "model-size") {
        const auto own = grid.models.find(text);
        set_model(cell, text, own != grid.models.end() ? own->second : *find_model_config(text));
        return;
    }
    if (key.starts_with("axis.")) {
        cell.custom[key.substr(std::string("axis.").size())] = custom_value(text);
        return;
    }
    for_each_field(cell, [&](const Field& field, auto& value) {
        if (field.key() == key) parse_field(text, field, value);
    });
}

/// The axes of one model size. The command line wins over the size's section, and that over the
/// general values. An axis that nobody gave is left at its default.
std::vector<Axis> axes_of(const Grid& grid, const std::string& size) {
    const auto section = grid.size_values.find(size);
    const AxisValues none;
    const AxisValues& of_size = section == grid.size_values.end() ? none : section->second;
    std::vector<Axis> axes;
    const auto add = [&](const std::string& key) {
        const auto known = [&](const Axis& axis) { return axis.key == key; };
        if (std::any_of(axes.begin(), axes.end(), known)) return;
        for (const AxisValues* source : {&grid.command_line, &of_size, &grid.values})
            if (const auto* values = find_values(*source, key)) {
                axes.push_back({key, *values});
                return;
            }
    };
    const Cell defaults;
    for_each_field(defaults, [&](const Field& field, const auto&) {
        if (field.kind == FieldKind::axis && field.name != "model_size") add(field.key());
    });
    for (const AxisValues* source : {&grid.values, &of_size, &grid.command_line})
        for (const auto& [key, values] : *source)
            if (key.starts_with("axis.")) add(key);
    std::vector<std::string> replicates;
    for (std::int64_t number = 1; number <= grid.replicates; ++number)
        replicates.push_back(std::to_string(number));
    axes.push_back({"replicate", replicates});
    return axes;
}

/// A number that looks drawn at random, from a key and a seed: SplitMix64's step and finaliser
/// (Steele, Lea and Flood 2014).
std::uint64_t lot_of(const std::string& key, std::int64_t seed) {
    std::uint64_t lot = 0;
    std::from_chars(key.data(), key.data() + key.size(), lot, 16);
    lot += static_cast<std::uint64_t>(seed) * 0x9e3779b97f4a7c15U;
    lot = (lot ^ (lot >> 30)) * 0xbf58476d1ce4e5b9U;
    lot = (lot ^ (lot >> 27)) * 0x94d049bb133111ebU;
    return lot ^ (lot >> 31);
}

/// A cell's place in a plan, and how much work it is.
struct Load {
    std::size_t cell;
    double work;
};

/// All cells, those with the most work first, those that are alike in their order.
std::vector<Load> largest_first(const std::vector<PlannedCell>& cells) {
    std::vector<Load> loads;
    loads.reserve(cells.size());
    for (std::size_t i = 0; i < cells.size(); ++i) loads.push_back({i, work_of(cells[i].cell)});
    std::stable_sort(loads.begin(), loads.end(),
                     [](const Load& one, const Load& other) { return one.work > other.work; });
    return loads;
}

}  // namespace

std::vector<PlannedCell> make_plan(const Grid& grid) {
    const AxisValues* const sources[] = {&grid.command_line, &grid.values};
    std::vector<std::string> sizes = {Cell{}.model_size};
    for (const AxisValues* source : sources)
        if (const auto* given = find_values(*source, "model-size")) {
            sizes = *given;
            break;
        }

    std::vector<PlannedCell> plan;
    std::unordered_set<std::string> keys;
    for (const std::string& size : sizes) {
        Cell cell;
        cell.gpu_memory_limit = grid.gpu_memory_limit;
        cell.passes = grid.passes;
        assign(cell, "model-size", size, grid);
        const std::vector<Axis> axes = axes_of(grid, size);
        double product = 1;
        for (const Axis& axis : axes) product *= static_cast<double>(axis.values.size());
        if (static_cast<double>(plan.size()) + product > max_cells)
            throw UsageError("the plan has more than a million cells: give the axes fewer values");
        std::vector<std::size_t> at(axes.size(), 0);
        for (const Axis& axis : axes) assign(cell, axis.key, axis.values[0], grid);
        // An odometer: raise the last axis, and carry to the one before it.
        while (true) {
            std::string key = key_of(cell);
            if (keys.insert(key).second) plan.push_back({std::move(key), cell});
            std::size_t axis = axes.size();
            while (axis > 0 && at[axis - 1] + 1 == axes[axis - 1].values.size()) --axis;
            if (axis == 0) break;
            ++at[axis - 1];
            assign(cell, axes[axis - 1].key, axes[axis - 1].values[at[axis - 1]], grid);
            for (; axis < axes.size(); ++axis) {
                at[axis] = 0;
                assign(cell, axes[axis].key, axes[axis].values[0], grid);
            }
        }
    }
    return plan;
}

std::vector<PlannedCell> cells_of_shard(std::vector<PlannedCell> plan, const PlanShard& shard) {
    std::vector<double> loads(static_cast<std::size_t>(shard.count), 0);
    std::vector<bool> is_ours(plan.size(), false);
    for (const auto& [cell, work] : largest_first(plan)) {
        const auto least = std::min_element(loads.begin(), loads.end());
        *least += work;
        is_ours[cell] = least - loads.begin() == shard.number - 1;
    }
    std::vector<PlannedCell> ours;
    for (std::size_t cell = 0; cell < plan.size(); ++cell)
        if (is_ours[cell]) ours.push_back(std::move(plan[cell]));
    return ours;
}

std::vector<PlannedCell> in_order(std::vector<PlannedCell> cells, const Order& order) {
    if (order.is_shuffled)
        std::stable_sort(cells.begin(), cells.end(), [&](const auto& one, const auto& other) {
            return lot_of(one.key, order.seed) < lot_of(other.key, order.seed);
        });
    return cells;
}

std::vector<PlannedCell> longest_first(std::vector<PlannedCell> cells) {
    struct Entry {
        std::pair<std::size_t, std::size_t> place;
        std::size_t cell;
    };
    const std::vector<Load> loads = largest_first(cells);
    std::vector<Entry> entries;
    entries.reserve(cells.size());
    for (std::size_t length = 0; entries.size() < loads.size(); ++length) {
        const double work = loads[entries.size()].work;
        // Each that is alike stands one length further back, behind the first of that length.
        for (std::size_t alike = 0; entries.size() < loads.size(); ++alike) {
            const Load& load = loads[entries.size()];
            if (load.work != work) break;
            entries.push_back({{length + alike, alike}, load.cell});
        }
    }
    std::sort(entries.begin(), entries.end(),
              [](const Entry& one, const Entry& other) { return one.place < other.place; });
    std::vector<PlannedCell> sorted;
    sorted.reserve(cells.size());
    for (const Entry& entry : entries) sorted.push_back(std::move(cells[entry.cell]));
    return sorted;
}

}  // namespace isosweep
