#include <doctest/doctest.h>
#include <isosweep/text.h>

#include <cmath>

using namespace isosweep;

TEST_CASE("bytes are read with their units and refused without a number") {
    CHECK(parse_bytes("24GiB") == 25769803776);
    CHECK(parse_bytes("16GB") == 16000000000);
    CHECK(parse_bytes("1.5 KiB") == 1536);
    CHECK(parse_bytes("512") == 512);
    for (const char* bad : {"", "GiB", "24gib", "-1", "0", "1e30", "nan", "12 GiB x"})
        CHECK_THROWS_AS(parse_bytes(bad), BadValue);
}

TEST_CASE("durations are read with their units; plain numbers are seconds") {
    CHECK(parse_duration_ms("250ms") == 250);
    CHECK(parse_duration_ms("90") == 90'000);
    CHECK(parse_duration_ms("10m") == 600'000);
    CHECK(parse_duration_ms("1.5h") == 5'400'000);
    for (const char* bad : {"", "m", "10 parsecs", "-1s", "inf"})
        CHECK_THROWS_AS(parse_duration_ms(bad), BadValue);
}

TEST_CASE("durations and bytes are printed as people read them") {
    CHECK(format_duration(420) == "0.4 s");
    CHECK(format_duration(12'000) == "12 s");
    CHECK(format_duration(200'000) == "3 min 20 s");
    CHECK(format_duration(7'500'000) == "2 h 05 min");
    CHECK(format_bytes(640) == "640 B");
    CHECK(format_bytes(1610612736) == "1.50 GiB");
}

TEST_CASE("exact doubles read back, and what is not finite is empty") {
    CHECK(format_exact(0.1) == "0.1");
    CHECK(std::stod(format_exact(1.0 / 3)) == 1.0 / 3);
    CHECK(format_exact(NAN).empty());
    CHECK(format_exact(INFINITY).empty());
}

TEST_CASE("near misses name what was meant") {
    const std::vector<std::string> keys = {"context-length", "batch-size", "timeout"};
    CHECK(did_you_mean("context-lenght", keys) == "; did you mean 'context-length'?");
    CHECK(did_you_mean("Batch-Size", keys) == "; did you mean 'batch-size'?");
    CHECK(did_you_mean("elephant", keys).empty());
}

TEST_CASE("a text becomes one line of valid UTF-8") {
    CHECK(one_line("  a\n\tb  ") == "a b");
    CHECK(one_line("k\xC3\xBCrzen", 2) == "k...");
    CHECK(one_line("bad \xff\xfe byte") == "bad ?? byte");
    CHECK(one_line(std::string(600, 'x')).size() == 503);
}
