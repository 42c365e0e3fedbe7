// Looking inside a step: the arithmetic with events made by hand, then the program on the CPU.

#include <doctest/doctest.h>

#include <boost/json/parse.hpp>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "breakdown.h"
#include "options.h"
#include "program.h"

namespace isosweep {
namespace {

namespace json = boost::json;
using Kind = ProfileEvent::Kind;
using Words = std::vector<std::string>;

constexpr std::uint64_t main_thread = 1;
constexpr std::uint64_t backward_thread = 2;
constexpr std::int64_t ms = 1'000'000;  // in nanoseconds

/// Events of a step of 100 ms, times in ms.
class Events {
  public:
    Events() { region("step", 0, 100); }

    Events& region(const char* name, std::int64_t start, std::int64_t end) {
        return add({.kind = Kind::region, .name = name, .thread = main_thread}, start, end);
    }
    Events& operation(const char* name, std::int64_t start, std::int64_t end,
                      std::uint64_t correlation = 0,
                      std::int64_t sequence = ProfileEvent::no_sequence,
                      std::uint64_t thread = main_thread) {
        return add({.kind = Kind::operation,
                    .name = name,
                    .thread = thread,
                    .correlation = correlation,
                    .sequence = sequence},
                   start, end);
    }
    Events& node(const char* name, std::int64_t start, std::int64_t end, std::int64_t sequence) {
        return add({.kind = Kind::backward_node,
                    .name = name,
                    .thread = backward_thread,
                    .sequence = sequence,
                    .forward_thread = main_thread},
                   start, end);
    }
    Events& kernel(std::uint64_t correlation, std::int64_t start, std::int64_t end,
                   Kind kind = Kind::kernel) {
        return add({.kind = kind, .name = "kernel", .correlation = correlation}, start, end);
    }

    /// "softmax 20 (2), gaps 80 (0)"
    std::string broken_down(bool on_gpu) const {
        std::string text;
        double sum = 0;
        const Breakdown breakdown = break_down(events_, on_gpu);
        for (const auto& part : breakdown.parts) {
            text += text.empty() ? "" : ", ";
            text += std::string(name_of(part.group)) + " " +
                    std::to_string(std::lround(part.ms * 10) / 10) + " (" +
                    std::to_string(part.count) + ")";
            sum += part.ms;
        }
        CHECK(breakdown.sum_ms() == doctest::Approx(sum));
        CHECK(sum == doctest::Approx(100));
        return text;
    }

  private:
    Events& add(ProfileEvent event, std::int64_t start, std::int64_t end) {
        event.start_ns = start * ms;
        event.end_ns = end * ms;
        events_.push_back(std::move(event));
        return *this;
    }

    std::vector<ProfileEvent> events_;
};

constexpr bool on_cpu = false;
constexpr bool on_gpu = true;

TEST_CASE("on a CPU the innermost operation has the time") {
    CHECK(Events()
              .region("forward", 0, 90)
              .region("layer 0", 0, 90)
              .operation("aten::linear", 10, 40)
              .operation("aten::t", 12, 14)
              .operation("aten::mm", 15, 35)
              .region("softmax", 50, 80)
              .operation("aten::exp", 50, 60)
              .operation("aten::div", 60, 80)
              .operation("aten::add", 85, 90)
              .broken_down(on_cpu) ==
          "matrix products 30 (2), softmax 30 (2), elementwise 5 (1), gaps 35 (0)");
}

TEST_CASE("operations are told by their names, then by the innermost region that tells") {
    const auto group_of = [](const char* name, const char* region) {
        const std::string all =
            Events().region(region, 0, 90).operation(name, 0, 100 - 10).broken_down(on_cpu);
        return all.substr(0, all.find(" 90"));
    };
    CHECK(group_of("aten::bmm", "softmax") == "matrix products");
    CHECK(group_of("aten::_scaled_dot_product_flash_attention_backward", "norm") == "attention");
    CHECK(group_of("aten::_log_softmax", "layer 0") == "loss");
    CHECK(group_of("aten::_softmax", "layer 0") == "softmax");
    CHECK(group_of("aten::_fused_rms_norm", "layer 0") == "normalisation");
    CHECK(group_of("aten::_fused_adamw_", "layer 0") == "optimizer");
    CHECK(group_of("aten::_foreach_add_", "layer 0") == "optimizer");
    CHECK(group_of("aten::embedding_dense_backward", "layer 0") == "embedding");
    CHECK(group_of("aten::copy_", "projections") == "memory");
    CHECK(group_of("aten::copy_", "norm") == "normalisation");
    CHECK(group_of("aten::mul", "rotary") == "rotary");
    CHECK(group_of("aten::mul", "feed-forward") == "elementwise");
    CHECK(group_of("aten::index", "embedding") == "embedding");
    CHECK(group_of("isosweep::attention", "attention") == "attention");
}

TEST_CASE("on a GPU kernels have the time, by the operations that launched them") {
    CHECK(Events()
              .region("forward", 0, 20)
              .operation("aten::linear", 1, 5, 7)
              .operation("aten::addmm", 2, 4, 8)
              .region("norm", 6, 9)
              .operation("aten::mul", 7, 8, 9)
              .kernel(8, 10, 40)
              .kernel(9, 40, 45)
              .kernel(8, 50, 51, Kind::memory)
              .kernel(9, 51, 53, Kind::memory)
              .kernel(12345, 60, 70)
              .kernel(0, 70, 72, Kind::memory)
              .broken_down(on_gpu) ==
          "matrix products 30 (1), normalisation 7 (2), elementwise 10 (1), memory 3 (2), gaps 50 "
          "(0)");
}

TEST_CASE("kernels side by side share the time") {
    CHECK(Events()
              .operation("aten::mm", 0, 1, 1)
              .operation("aten::add", 2, 3, 2)
              .kernel(1, 10, 50)
              .kernel(2, 30, 70)  // 20 of them beside the other
              .kernel(2, 30, 50)  // 20 of them beside both
              .broken_down(on_gpu) == "matrix products 26 (1), elementwise 33 (2), gaps 40 (0)");
}

TEST_CASE("the backward pass belongs to the regions of the forward pass") {
    CHECK(Events()
              .region("forward", 0, 40)
              .region("rotary", 1, 10)
              .operation("aten::mul", 2, 5, 1, 70)
              // Of operations with one number the last makes the node.
              .operation("aten::narrow", 6, 8, 2, 71)
              .region("softmax", 11, 20)
              .operation("aten::exp", 12, 15, 3, 71)
              .node("autograd::engine::evaluate_function: ExpBackward0", 50, 55, 71)
              .node("ExpBackward0", 51, 54, 71)
              .operation("aten::mul", 52, 53, 4, ProfileEvent::no_sequence, backward_thread)
              .node("MulBackward0", 56, 60, 70)
              .operation("aten::mul", 57, 58, 5, ProfileEvent::no_sequence, backward_thread)
              .operation("aten::mm", 58, 59, 6, ProfileEvent::no_sequence, backward_thread)
              .node("AccumulateGrad", 61, 65, ProfileEvent::no_sequence)
              .operation("aten::add", 62, 63, 7, ProfileEvent::no_sequence, backward_thread)
              .kernel(4, 60, 70)
              .kernel(5, 70, 75)
              .kernel(6, 75, 77)
              .kernel(7, 80, 81)
              .broken_down(on_gpu) ==
          "matrix products 2 (1), softmax 10 (1), rotary 5 (1), elementwise 1 (1), gaps 82 (0)");
}

TEST_CASE("two threads of a CPU at the same time share it; only the last step counts") {
    Events events;
    events.operation("aten::mm", 10, 30, 1)
        .operation("aten::add", 20, 40, 2, ProfileEvent::no_sequence, backward_thread)
        .operation("aten::mm", -50, -20)
        .operation("aten::mm", 110, 120);
    CHECK(events.broken_down(on_cpu) == "matrix products 15 (1), elementwise 15 (1), gaps 70 (0)");
}

TEST_CASE("nothing to break down") {
    CHECK_THROWS_WITH_AS(break_down({}, on_gpu), "the profiler saw no step", std::runtime_error);
    CHECK_THROWS_AS(Events().broken_down(on_gpu), std::runtime_error);
    CHECK_THROWS_AS(Events().broken_down(on_cpu), std::runtime_error);
}

const Words tiny_model = {"--model-size",    "tiny", "--context-length", "32",
                          "--batch-size",    "2",    "--warmup-steps",   "1",
                          "--measure-steps", "2",    "--device",         "cpu"};

Words tiny_with(const Words& more) {
    Words words = tiny_model;
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::map<std::string, double> times_by_group(const json::object& breakdown) {
    std::map<std::string, double> times;
    for (const json::value& group : breakdown.at("groups").as_array())
        times[std::string(group.at("group").as_string())] = group.at("ms").to_number<double>();
    return times;
}

TEST_CASE("--breakdown adds up to the step") {
    for (const char* pass : {"forward", "forward_backward", "train_step"}) {
        CAPTURE(pass);
        const ProgramRun run =
            run_worker(tiny_with({"--pass-type", pass, "--breakdown", "--json"}));
        CHECK(run.err == "");
        REQUIRE(run.exit_code == 0);
        const json::value result = json::parse(run.out);
        CHECK(result.at("status") == "ok");
        const json::object& breakdown = result.at("measurement").at("breakdown").as_object();
        const double step = breakdown.at("step_ms").to_number<double>();
        CHECK(breakdown.at("unprofiled_step_ms").to_number<double>() > 0);
        const auto times = times_by_group(breakdown);
        double sum = 0;
        for (const auto& [group, time] : times) {
            CHECK_MESSAGE(time >= 0, group);
            sum += time;
        }
        CHECK(sum == doctest::Approx(breakdown.at("sum_ms").to_number<double>()));
        CHECK(std::abs(sum - step) < 0.03 * step);
        for (const char* group : {"matrix products", "softmax", "normalisation", "rotary",
                                  "elementwise", "embedding", "memory", "gaps"})
            CHECK_MESSAGE(times.contains(group), group);
        CHECK(times.contains("optimizer") == (pass == std::string("train_step")));
        CHECK(times.contains("loss") == (pass != std::string("forward")));
    }
}

TEST_CASE("--breakdown names the parts of fused kernels, forward and backward") {
    std::map<std::string, std::int64_t> forward;
    for (const char* pass : {"forward", "train_step"}) {
        CAPTURE(pass);
        const ProgramRun run =
            run_worker(tiny_with({"--kernels", "fused", "--precision", "bf16", "--pass-type", pass,
                                  "--breakdown", "--json"}));
        CHECK(run.err == "");
        REQUIRE(run.exit_code == 0);
        const json::value result = json::parse(run.out);
        const json::object& breakdown = result.at("measurement").at("breakdown").as_object();
        std::map<std::string, std::int64_t> counts;
        for (const json::value& group : breakdown.at("groups").as_array())
            counts[std::string(group.at("group").as_string())] = group.at("count").as_int64();
        CHECK_FALSE(counts.contains("softmax"));
        for (const char* group :
             {"matrix products", "attention", "normalisation", "rotary", "embedding"}) {
            CAPTURE(group);
            CHECK(counts[group] > 0);
            // The backward pass does as much again.
            if (!forward.empty()) CHECK(counts[group] > forward[group]);
        }
        CHECK(counts.contains("loss") == !forward.empty());
        forward = counts;
    }
}

TEST_CASE("--breakdown for a person") {
    const ProgramRun run = run_worker(tiny_with({"--breakdown"}));
    CHECK(run.exit_code == 0);
    CHECK(run.err == "");
    CHECK(run.out.starts_with("tiny, context 32, batch 2, forward, "));
    for (const char* label :
         {"device", "work", "matrix products", "softmax", "gaps", "sum", "step", "unprofiled step"})
        CHECK_MESSAGE(run.out.find("\n  " + std::string(label)) != std::string::npos, label);
}

TEST_CASE("a cell with a CUDA graph is looked at without it, and says so") {
    const ProgramRun run = run_worker(tiny_with({"--breakdown", "--cuda-graph", "on"}));
    CHECK(run.exit_code == 0);
    CHECK(run.out.find("the step without its CUDA graph") != std::string::npos);
}

/// The regions of a trace and how often each was, and the number of its operations.
struct TraceContent {
    std::multiset<std::string> regions;
    std::size_t operations = 0;
};

TraceContent traced_training_step(const Words& more) {
    const TemporaryFolder folder;
    Words words = {"--pass-type", "train_step", "--trace", folder.file("trace.json"), "--profile"};
    words.insert(words.end(), more.begin(), more.end());
    const ProgramRun run = run_worker(tiny_with(words));
    CHECK(run.err == "");
    REQUIRE(run.exit_code == 0);
    CHECK(run.out.find("trace.json") != std::string::npos);
    const json::value trace = json::parse(content_of(folder.file("trace.json")));
    TraceContent content;
    for (const json::value& event : trace.at("traceEvents").as_array()) {
        const json::value* category = event.as_object().if_contains("cat");
        if (category == nullptr) continue;
        if (*category == "user_annotation")
            content.regions.insert(std::string(event.at("name").as_string()));
        content.operations += *category == "cpu_op";
    }
    return content;
}

/// The same for each of the two layers.
std::multiset<std::string> with_layers(std::multiset<std::string> regions,
                                       const std::multiset<std::string>& of_layer) {
    for (const char* layer : {"layer 0", "layer 1"}) {
        regions.insert(layer);
        regions.insert(of_layer.begin(), of_layer.end());
    }
    return regions;
}

TEST_CASE("--trace is a Chrome trace with our regions, from one step") {
    const std::multiset<std::string> around = {"step",     "forward",           "embedding",
                                               "norm",     "output projection", "loss",
                                               "backward", "optimizer"};
    const TraceContent reference = traced_training_step({});
    CHECK(reference.operations > 100);
    CHECK(reference.regions ==
          with_layers(around, {"norm", "projections", "rotary", "projections", "rotary",
                               "projections", "attention scores", "softmax", "value product",
                               "projections", "norm", "feed-forward"}));
    // Rotary is a region of its own in the backward pass, since it is no node of its own there.
    const TraceContent fused = traced_training_step({"--kernels", "fused"});
    CHECK(fused.operations > 100);
    CHECK(fused.regions == with_layers(around, {"norm", "projections", "rotary", "attention",
                                                "projections", "norm", "feed-forward", "rotary"}));
}

TEST_CASE("a file that cannot be written is told before any work") {
    for (const char* flag : {"--trace", "--memory-snapshot"}) {
        const ProgramRun run = run_worker(tiny_with({flag, "/nowhere/file"}));
        CHECK(run.exit_code == 2);
        CHECK(run.out == "");
        CHECK(run.err == "isosweep-worker: " + std::string(flag) +
                             " /nowhere/file: cannot be written: No such file or directory\n");
    }
}

TEST_CASE("--memory-snapshot is the GPU's") {
    const TemporaryFolder folder;
    const ProgramRun run = run_worker(tiny_with({"--memory-snapshot", folder.file("a.pickle")}));
    CHECK(run.exit_code == 1);
    CHECK(run.out == "");
    CHECK(run.err ==
          "isosweep-worker: unsupported in build: --memory-snapshot needs a CUDA device: it shows "
          "its allocator\n");
}

TEST_CASE("an inspection fails as a cell does") {
    const ProgramRun run = run_worker(tiny_with({"--breakdown", "--precision", "tf32", "--json"}));
    CHECK(run.exit_code == 1);
    const json::value result = json::parse(run.out);
    CHECK(result.at("status") == "unsupported");
    CHECK(result.at("error").at("message") == "precision = tf32 needs a CUDA device");
}

TEST_CASE("wrong usage of the flags that look inside") {
    const auto usage_error = [](Words words) -> std::string {
        words.insert(words.begin(), "isosweep-worker");
        std::vector<const char*> pointers;
        for (const std::string& word : words) pointers.push_back(word.c_str());
        try {
            parse_options(static_cast<int>(pointers.size()), pointers.data());
        } catch (const UsageError& problem) {
            return problem.what();
        }
        return "none";
    };
    CHECK(usage_error({"--breakdown", "--profile", "--trace", "a", "--memory-snapshot", "b"}) ==
          "none");
    CHECK(usage_error({"--trace"}) == "--trace: expected a value behind it");
    CHECK(usage_error({"--trace="}) == "--trace: expected a value behind it");
    CHECK(usage_error({"--trace", ""}) == "--trace: expected a file's name");
    CHECK(usage_error({"--breakdown=yes"}) == "--breakdown: takes no value");
    CHECK(usage_error({"--serve", "--profile"}).starts_with("--serve: takes no other flag"));
    CHECK(usage_error({"--brakdown"}).find("'--breakdown'") != std::string::npos);
}

}  // namespace
}  // namespace isosweep
