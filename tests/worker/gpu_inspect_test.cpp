// Looking inside a step on a GPU. Without one every case says so and passes.

#include <doctest/doctest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "device.h"
#include "inspect.h"
#include "program.h"

namespace isosweep {
namespace {

namespace json = boost::json;

bool skipped() {
    if (cuda::is_usable()) return false;
    MESSAGE("skipped: no CUDA device");
    return true;
}

/// Large enough that a step takes milliseconds.
Cell small_cell() {
    Cell cell;
    set_model(cell, "tiny", *find_model_config("tiny"));
    cell.context_length = 256;
    cell.batch_size = 8;
    cell.warmup_steps = 2;
    cell.measure_steps = 5;
    cell.device = Device::cuda;
    return cell;
}

std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void check_breakdown(const Cell& cell, const std::set<std::string>& expected,
                     std::int64_t least_kernels) {
    CAPTURE(describe(cell));
    const CellResult result = inspect(cell, {.breakdown = true});
    REQUIRE_MESSAGE(result.status == Status::ok, json::serialize(result.error));
    const json::object& breakdown = result.measurement.at("breakdown").as_object();
    const double step = breakdown.at("step_ms").as_double();
    const double sum = breakdown.at("sum_ms").as_double();
    CHECK(std::abs(sum - step) < 0.03 * step);
    std::set<std::string> groups;
    std::int64_t kernels = 0;
    for (const json::value& group : breakdown.at("groups").as_array()) {
        groups.emplace(group.at("group").as_string());
        kernels += group.at("count").as_int64();
        CHECK(group.at("ms").as_double() >= 0);
    }
    CHECK(kernels > least_kernels);
    for (const std::string& group : expected) CHECK_MESSAGE(groups.contains(group), group);
    CHECK(groups.contains("optimizer") == (cell.pass_type == PassType::train_step));
    CHECK(groups.contains("loss") == (cell.pass_type != PassType::forward));
}

TEST_CASE("a breakdown adds up to the step, and names its groups") {
    if (skipped()) return;
    for (const auto& [pass, name] : EnumNames<PassType>::value)
        for (const Precision precision : {Precision::fp32, Precision::bf16}) {
            Cell cell = small_cell();
            cell.pass_type = pass;
            cell.precision = precision;
            std::set<std::string> groups = {
                "matrix products", "softmax",   "normalisation", "rotary",
                "elementwise",     "embedding", "gaps"};
            check_breakdown(cell, groups, 50);
            cell.kernels = Kernels::fused;
            groups.erase("softmax");
            groups.insert("attention");
            check_breakdown(cell, groups, 9 * cell.num_layers);
        }
}

TEST_CASE("a trace has the regions and the kernels") {
    if (skipped()) return;
    const TemporaryFolder folder;
    const CellResult result = inspect(small_cell(), {.trace = folder.file("trace.json")});
    REQUIRE_MESSAGE(result.status == Status::ok, json::serialize(result.error));
    const json::value trace = json::parse(content_of(folder.file("trace.json")));
    std::size_t kernels = 0;
    std::set<std::string> regions;
    for (const json::value& event : trace.at("traceEvents").as_array()) {
        const json::value* category = event.as_object().if_contains("cat");
        if (category == nullptr) continue;
        kernels += *category == "kernel";
        if (*category == "user_annotation") regions.emplace(event.at("name").as_string());
    }
    CHECK(kernels > 50);
    for (const char* region : {"step", "forward", "layer 1", "softmax", "feed-forward"})
        CHECK_MESSAGE(regions.contains(region), region);
}

TEST_CASE("a memory snapshot loads in Python and tells who allocated") {
    if (skipped()) return;
    // NOLINTNEXTLINE(bugprone-command-processor): of words of ours
    if (std::system("python3 -c 'import pickle' 2>/dev/null") != 0) {
        MESSAGE("skipped: no python3");
        return;
    }
    const TemporaryFolder folder;
    Cell cell = small_cell();
    cell.pass_type = PassType::train_step;
    const CellResult result = inspect(cell, {.memory_snapshot = folder.file("memory.pickle")});
    REQUIRE_MESSAGE(result.status == Status::ok, json::serialize(result.error));
    std::ofstream(folder.file("check.py")) <<
        R"(import pickle, sys
snapshot = pickle.load(open(sys.argv[1], "rb"))
blocks = [block for segment in snapshot["segments"] for block in segment["blocks"]]
assert any(block["state"] == "active_allocated" for block in blocks)
events = [event for trace in snapshot["device_traces"] for event in trace]
allocations = [event for event in events if event["action"] == "alloc"]
assert len(allocations) > 100, len(allocations)
calls = {frame["name"] for event in allocations for frame in event["frames"]}
assert any("Transformer" in call or "Attention" in call or "at::" in call for call in calls), calls
)";
    const std::string command =
        "python3 " + folder.file("check.py") + " " + folder.file("memory.pickle");
    CHECK(std::system(command.c_str()) == 0);  // NOLINT(bugprone-command-processor): likewise
}

TEST_CASE("a profiled step runs, and the GPU is usable afterwards") {
    if (skipped()) return;
    Cell cell = small_cell();
    cell.pass_type = PassType::forward_backward;
    CHECK(inspect(cell, {.profile = true}).status == Status::ok);
    CHECK(inspect(cell, {.profile = true, .breakdown = true}).status == Status::ok);
}

TEST_CASE("a step that does not fit is out of memory here, too") {
    if (skipped()) return;
    Cell cell = small_cell();
    cell.gpu_memory_limit.bytes = std::int64_t{40} << 20;
    const CellResult result = inspect(cell, {.breakdown = true});
    CHECK(result.status == Status::oom_gpu);
    CHECK(result.error.contains("requested_bytes"));
}

}  // namespace
}  // namespace isosweep
