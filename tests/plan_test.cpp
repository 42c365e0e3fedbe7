#include "orchestrator/plan.h"

#include <doctest/doctest.h>

#include <set>

#include "orchestrator/probe.h"
#include "temp_folder.h"

using namespace isosweep;

namespace {

std::string described(const Grid& grid) {
    std::string text;
    for (const PlannedCell& planned : make_plan(grid)) text += describe(planned.cell) + "\n";
    return text;
}

}  // namespace

TEST_CASE("each cell is in exactly one shard, and the shards do about the same work") {
    Options options;
    options.grid.values = {{"context-length", {"128", "256", "512", "1024"}},
                           {"batch-size", {"1", "2", "4", "8"}}};
    const std::vector<PlannedCell> plan = make_plan(options.grid);
    std::map<std::string, int> seen;
    std::vector<std::int64_t> tokens;
    for (std::int64_t number = 1; number <= 3; ++number) {
        tokens.push_back(0);
        for (const PlannedCell& cell : cells_of_shard(plan, {number, 3})) {
            ++seen[cell.key];
            tokens.back() += cell.cell.context_length * cell.cell.batch_size;
        }
    }
    CHECK(seen.size() == plan.size());
    for (const auto& [key, count] : seen) CHECK(count == 1);
    const auto [least, most] = std::minmax_element(tokens.begin(), tokens.end());
    CHECK(*most < 1.2 * static_cast<double>(*least));
    CHECK(cells_of_shard(plan, {1, 1}).size() == plan.size());
    CHECK(cells_of_shard(plan, {17, 100}).empty());  // there are 16 cells
}

TEST_CASE("each GPU is probed in each precision that its cells use and the journal lacks") {
    const tests::TempFolder folder;
    Journal journal = Journal::open(folder / "j");
    journal.write_header({});
    journal.write_probe({"GPU-b", "", Precision::bf16, 700, {}});
    Grid grid;
    grid.values = {{"precision", {"bf16", "fp32"}}, {"context-length", {"1", "2"}}};
    const std::vector<Slot> slots = {{"GPU-a"}, {"GPU-b"}, {""}};
    const auto probes = [&](Device device) {
        return missing_probes(make_plan(grid), device, slots, journal);
    };
    using enum Precision;
    CHECK(probes(Device::cuda) == std::vector<Probe>{{0, fp32}, {0, bf16}, {1, fp32}});
    CHECK(probes(Device::cpu).empty());
    grid.passes = {.memory = false, .pipelined = false, .energy = false};
    CHECK(probes(Device::cuda).empty());
    grid.passes = {.memory = false, .pipelined = true, .energy = false};
    grid.values = {{"device", {"cpu", "cuda"}}};
    CHECK(probes(Device::cuda) == std::vector<Probe>{{0, fp32}, {1, fp32}});
    CHECK(missing_probes({}, Device::cuda, slots, journal).empty());
}

TEST_CASE("an empty grid is one cell at its defaults") {
    const auto plan = make_plan({});
    REQUIRE(plan.size() == 1);
    CHECK(plan[0].cell == Cell{});
    CHECK(plan[0].key == key_of(Cell{}));
}

TEST_CASE("the grid is the product of its axes, the first changing slowest") {
    Grid grid;
    grid.values = {{"pass-type", {"forward", "train_step"}},
                   {"context-length", {"128", "256"}},
                   {"model-size", {"tiny", "large"}}};
    CHECK(described(grid) == R"(tiny, context 128, batch 4, forward
tiny, context 128, batch 4, train_step
tiny, context 256, batch 4, forward
tiny, context 256, batch 4, train_step
large, context 128, batch 4, forward
large, context 128, batch 4, train_step
large, context 256, batch 4, forward
large, context 256, batch 4, train_step
)");
}

TEST_CASE("a size's section wins over the general values, the command line over both") {
    Grid grid;
    grid.values = {{"model-size", {"small", "2.7B"}}, {"context-length", {"512"}}};
    grid.size_values["2.7B"] = {{"context-length", {"128"}}, {"batch-size", {"1"}}};
    CHECK(described(grid) ==
          "small, context 512, batch 4, forward\n2.7B, context 128, batch 1, forward\n");
    grid.command_line = {{"context-length", {"64"}}};
    CHECK(described(grid) ==
          "small, context 64, batch 4, forward\n2.7B, context 64, batch 1, forward\n");
}

TEST_CASE("cells are planned once, and replicates apart") {
    Grid grid;
    grid.values = {{"context-length", {"128", "128"}}};
    CHECK(make_plan(grid).size() == 1);
    grid.replicates = 3;
    const auto plan = make_plan(grid);
    REQUIRE(plan.size() == 3);
    CHECK(plan[2].cell.replicate == 3);
    std::set<std::string> keys;
    for (const auto& planned : plan) keys.insert(planned.key);
    CHECK(keys.size() == 3);
}

TEST_CASE("own sizes and custom axes come into the cell") {
    Grid grid;
    grid.models["mine"] = {64, 128, 3, 4};
    grid.values = {{"model-size", {"mine"}}, {"axis.depth", {"1", "2.5", "deep"}}};
    const auto plan = make_plan(grid);
    REQUIRE(plan.size() == 3);
    CHECK(plan[0].cell.num_layers == 3);
    CHECK(plan[0].cell.custom.at("depth") == 1);
    CHECK(plan[1].cell.custom.at("depth") == 2.5);
    CHECK(plan[2].cell.custom.at("depth") == "deep");
}

TEST_CASE("a plan that nobody can mean is refused at once") {
    Grid grid;
    grid.replicates = 2'000'000;
    CHECK_THROWS_WITH(make_plan(grid),
                      "the plan has more than a million cells: give the axes fewer values");
}
