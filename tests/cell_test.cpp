#include <doctest/doctest.h>
#include <isosweep/cell.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <set>

using namespace isosweep;
namespace json = boost::json;

TEST_CASE("the sizes have the parameters that the course names") {
    const std::pair<const char*, std::int64_t> expected[] = {
        {"tiny", 3'084'928},    {"small", 128'625'408}, {"medium", 423'183'360},
        {"large", 969'411'840}, {"xl", 1'998'235'200},  {"2.7B", 3'406'809'600},
        {"10B", 12'832'823'808}};
    for (const auto& [name, parameters] : expected)
        CHECK(num_params(*find_model_config(name)) == parameters);
    CHECK(find_model_config("huge") == nullptr);
}

TEST_CASE("a model that cannot be built is refused with the reason") {
    CHECK(invalid_reason({768, 3072, 12, 12}).empty());
    CHECK(invalid_reason({768, 3072, 12, 7}) == "num_heads (7) does not divide d_model (768)");
    CHECK(invalid_reason({30, 64, 1, 10}) ==
          "the head size (3) is odd: rotary positions turn pairs");
    CHECK(invalid_reason({768, 3072, 0, 12}) == "num_layers (0) is not positive");
}

TEST_CASE("a cell goes through JSON and comes back") {
    Cell cell;
    set_model(cell, "mine", {64, 128, 3, 4});
    cell.pass_type = PassType::train_step;
    cell.precision = Precision::bf16;
    cell.sync = false;
    cell.gpu_memory_limit.bytes = 1 << 20;
    cell.custom["depth"] = 3;
    cell.custom["mode"] = "fast";
    const json::object object = to_json(cell);
    CHECK(object.at("sync") == "off");
    CHECK(object.at("depth") == 3);
    CHECK(cell_from_json(object) == cell);
    CHECK_FALSE(to_json(Cell{}).contains("gpu_memory_limit"));
}

TEST_CASE("a known size brings its dimensions, and a bad field is named") {
    const auto read = [](const char* text) {
        return cell_from_json(json::parse(text).as_object());
    };
    CHECK(read(R"({"model_size":"large"})").num_layers == 36);
    CHECK_THROWS_WITH_AS(read(R"({"pass_type":"foward"})"),
                         "pass_type = \"foward\": expected one of forward, forward_backward, "
                         "train_step; did you mean 'forward'?",
                         BadValue);
    CHECK_THROWS_WITH_AS(read(R"({"batch_size":0})"), "batch_size = 0: expected an integer >= 1",
                         BadValue);
    CHECK_THROWS_AS(read(R"({"batch_size":"4"})"), BadValue);
}

TEST_CASE("every field is part of the key, and equal cells have equal keys") {
    Cell cell;
    std::set<std::string> keys = {key_of(cell)};
    CHECK(key_of(cell) == key_of(Cell{}));
    const auto differs = [&](auto change) {
        Cell other;
        change(other);
        CHECK(keys.insert(key_of(other)).second);
    };
    differs([](Cell& c) { c.d_ff = 3073; });
    differs([](Cell& c) { c.context_length = 1024; });
    differs([](Cell& c) { c.seed = 2; });
    differs([](Cell& c) { c.pass_type = PassType::train_step; });
    differs([](Cell& c) { c.sync = false; });
    differs([](Cell& c) { c.gpu_memory_limit.bytes = 1; });
    differs([](Cell& c) { c.passes.energy = true; });
    differs([](Cell& c) { c.warmup_steps = {}; });
    differs([](Cell& c) { c.replicate = 2; });
    differs([](Cell& c) { c.custom["x"] = 1; });
    differs([](Cell& c) { c.custom["x"] = "1"; });
}

TEST_CASE("keys are what they were, since journals are kept") {
    CHECK(key_of(Cell{}) == "de111b72aa9e713c");
    Cell tiny;
    set_model(tiny, "tiny", *find_model_config("tiny"));
    tiny.precision = Precision::bf16;
    CHECK(key_of(tiny) == "ba3c9660632932a3");
}

TEST_CASE("a cell is described by what is not at its default") {
    Cell cell;
    CHECK(describe(cell) == "small, context 512, batch 4, forward");
    cell.precision = Precision::bf16;
    cell.warmup_steps = 0;
    cell.sync = false;
    cell.custom["depth"] = 2.5;
    CHECK(describe(cell) ==
          "small, context 512, batch 4, forward, bf16, sync off, warmup steps 0, depth 2.5");
}

TEST_CASE("a number of steps may be left to the worker, and passes are a list") {
    Cell cell;
    cell.warmup_steps = {};
    cell.passes = {.memory = false};
    const auto object = to_json(cell);
    CHECK(object.at("warmup_steps") == "auto");
    CHECK(object.at("measure_steps") == 10);
    CHECK(object.at("passes") == "none");
    CHECK(cell_from_json(object) == cell);
    const auto parsed = [](const char* text) {
        Passes passes;
        parse_field(text, Field{"passes", FieldKind::setting, 0, ""}, passes);
        return to_text(passes);
    };
    CHECK(parsed("energy, pipelined") == "pipelined,energy");
    CHECK(parsed("memory") == "memory");
    CHECK_THROWS_WITH_AS(parsed("memory,energi"),
                         "expected one of memory, pipelined, energy, none; did you mean 'energy'?",
                         BadValue);
    CHECK_THROWS_AS(parsed("memory,"), BadValue);
}
