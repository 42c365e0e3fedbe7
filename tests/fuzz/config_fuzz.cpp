// A config of any bytes: it is refused with one line that names it, or it makes a plan.
#include <unordered_set>

#include "fuzz.h"
#include "orchestrator/errors.h"
#include "orchestrator/fallback.h"
#include "orchestrator/options.h"
#include "orchestrator/plan.h"

using namespace isosweep;
using fuzz::expect;

namespace {

/// How many cells a grid has, at most.
double product(const Grid& grid) {
    double cells = static_cast<double>(grid.replicates);
    for (const auto& [key, values] : grid.values) cells *= static_cast<double>(values.size());
    for (const auto& [size, axes] : grid.size_values)
        for (const auto& [key, values] : axes) cells *= static_cast<double>(values.size());
    return cells;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::filesystem::path file = fuzz::scratch_file("x.cfg");
    fuzz::write_file(file, fuzz::text_of(data, size));
    try {
        const Command command = parse_command_line({"plan", file.string()});
        static_cast<void>(read_rule(command.options.fallback));
        static_cast<void>(read_rule(command.options.bisect));
        if (product(command.options.grid) > 200) return 0;
        std::unordered_set<std::string> keys;
        for (const PlannedCell& planned : make_plan(command.options.grid)) {
            expect(keys.insert(planned.key).second, "each cell is planned once");
            expect(cell_from_json(to_json(planned.cell)) == planned.cell, "a cell reads back");
        }
        expect(!keys.empty(), "a plan has cells");
    } catch (const UsageError& refused) {
        const std::string_view text = refused.what();
        expect(text.find('\n') == std::string_view::npos, "a refusal is one line");
    }
    return 0;
}
