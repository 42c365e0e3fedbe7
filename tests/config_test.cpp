#include <doctest/doctest.h>
#include <isosweep/text.h>

#include "orchestrator/config_reader.h"
#include "orchestrator/errors.h"

using namespace isosweep;

TEST_CASE("a config is read line by line") {
    const auto entries = parse_config(R"(# a comment
model-size = small, large   # another
launcher = nsys profile --output 'a # b'

[size.2.7B]
 batch-size=1)",
                                      "x.cfg");
    REQUIRE(entries.size() == 4);
    CHECK(entries[0].key == "model-size");
    CHECK(entries[0].value == "small, large");
    CHECK(entries[0].source.where == "x.cfg:2");
    CHECK(entries[1].value == "nsys profile --output 'a # b'");
    CHECK(entries[2].section == "size.2.7B");
    CHECK(entries[2].key.empty());
    CHECK(entries[3].key == "batch-size");
    CHECK(entries[3].source.where == "x.cfg:6");
}

TEST_CASE("what is no line of a config is refused with its place") {
    const auto problem = [](const char* text) -> std::string {
        try {
            parse_config(text, "x.cfg");
        } catch (const UsageError& error) {
            return error.what();
        }
        return {};
    };
    CHECK(problem("a = 1\nnonsense\n") == "x.cfg:2: nonsense: expected key = value");
    CHECK(problem("= 1") == "x.cfg:1: = 1: expected key = value");
    CHECK(problem("[size.a") ==
          "x.cfg:1: [size.a: expected a section as in [size.large] or [model.NAME]");
    CHECK(problem("seed = 1\nseed = 2\n") ==
          "x.cfg:2: seed is already set at x.cfg:1; a key takes all its values in one line");
}

TEST_CASE("words are split as a shell splits them") {
    using Words = std::vector<std::string>;
    CHECK(split_words("srun  -N1 --x='a b' \"c d\" e\\ f") ==
          Words{"srun", "-N1", "--x=a b", "c d", "e f"});
    CHECK(split_words("''") == Words{""});
    CHECK(split_words("  ").empty());
    CHECK_THROWS_AS(split_words("'open"), BadValue);
}
