// `isosweep compare` as a whole: two kept sweeps against the files in tests/expected/compare (with
// ISOSWEEP_WRITE_EXPECTED set these are written instead), then sweeps of the fake worker.
#include <doctest/doctest.h>

#include <boost/json/parse.hpp>
#include <cstdlib>

#include "sandbox.h"
#include "temp_folder.h"

using namespace isosweep;
using namespace isosweep::tests;
namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

const fs::path kept = fs::path(TESTS_DIR) / "expected/compare";

/// A sandbox with the two kept sweeps, before.csv and after.csv.
struct KeptSweeps : Sandbox {
    KeptSweeps() : Sandbox("") {
        for (const char* name : {"before", "after"}) {
            fs::copy(kept / name, path(name));
            fs::copy(kept / (std::string(name) + ".csv"), path(std::string(name) + ".csv"));
        }
    }
    void replace_in(const std::string& name, const std::string& old, const std::string& by) {
        std::string text = file(name);
        REQUIRE(contains(text, old));
        for (auto at = text.find(old); at != std::string::npos; at = text.find(old, at + by.size()))
            text.replace(at, old.size(), by);
        write_file(path(name), text);
    }
};

/// What `compare WORDS... --format json` says.
json::object compared(Sandbox& sandbox, std::vector<std::string> words) {
    words.insert(words.begin(), "compare");
    words.insert(words.end(), {"--format", "json"});
    const Ran ran = sandbox.run(words);
    CHECK(ran.err == "");
    REQUIRE(ran.exit_code < 2);
    json::object all = json::parse(ran.out).as_object();
    CHECK(all.at("worse").as_bool() == (ran.exit_code == 1));
    return all;
}

/// The one line that a command with exit code 2 says.
std::string refusal(Sandbox& sandbox, std::vector<std::string> words) {
    words.insert(words.begin(), "compare");
    const Ran ran = sandbox.run(words);
    CHECK(ran.exit_code == 2);
    CHECK(ran.out == "");
    CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
    return ran.err;
}

std::string verdicts(const json::object& all) {
    std::string text;
    for (const json::value& cell : all.at("cells").as_array()) {
        const json::value& verdict = cell.at("verdict");
        text += (text.empty() ? "" : " ") +
                (verdict.is_null() ? std::string("-") : std::string(verdict.as_string()));
    }
    return text;
}

}  // namespace

TEST_SUITE_BEGIN("sweep");

TEST_CASE("a comparison reads as in its files") {
    KeptSweeps sandbox;
    for (const char* format : {"text", "markdown", "json"}) {
        CAPTURE(format);
        const Ran ran = sandbox.run({"compare", "before.csv", "after.csv", "--format", format});
        CHECK(ran.exit_code == 1);
        CHECK(ran.err == "");
        const fs::path file = kept / ("comparison." + std::string(format));
        if (std::getenv("ISOSWEEP_WRITE_EXPECTED") != nullptr) write_file(file, ran.out);
        CHECK(ran.out == file_contents(file));
        const Ran written = sandbox.run(
            {"compare", "before.csv", "after.csv", "--format", format, "--output", "c.txt"});
        CHECK(written.exit_code == 1);
        CHECK(written.out == "");
        CHECK(sandbox.file("c.txt") == ran.out);
    }
}

TEST_CASE("what is better one way is worse the other way") {
    KeptSweeps sandbox;
    const json::object there = compared(sandbox, {"before.csv", "after.csv"});
    const json::object back = compared(sandbox, {"after.csv", "before.csv"});
    CHECK(verdicts(there) == "- - SAME SLOWER FASTER INCONCLUSIVE SAME -");
    CHECK(verdicts(back) == "- - SAME FASTER SLOWER INCONCLUSIVE SAME -");
    CHECK(there.at("outcomes_worse") == 1);
    CHECK(there.at("memory_worse") == 1);
    CHECK(back.at("memory_worse") == 0);
    CHECK(there.at("mean_time_ratio").as_double() * back.at("mean_time_ratio").as_double() ==
          doctest::Approx(1));
    // A threshold above all changes leaves the outcomes.
    const json::object coarse =
        compared(sandbox, {"before.csv", "after.csv", "--threshold", "15%"});
    CHECK(verdicts(coarse) == "- - SAME SAME SAME INCONCLUSIVE SAME -");
    CHECK(coarse.at("memory_worse") == 0);
    CHECK(coarse.at("worse") == true);
}

TEST_CASE("a CSV without its journal is judged by its statistics, and told so") {
    KeptSweeps sandbox;
    fs::remove_all(sandbox.path("after"));
    const json::object all = compared(sandbox, {"before.csv", "after.csv"});
    CHECK(verdicts(all) == "- - SAME SLOWER FASTER INCONCLUSIVE SAME -");
    for (const json::value& cell : all.at("cells").as_array())
        if (!cell.at("verdict").is_null()) CHECK(cell.at("basis") == "statistics");
    CHECK(all.at("a").at("source") == "10 cells, samples from the journal");
    CHECK(all.at("b").at("source") == "10 cells, statistics from the CSV");
    CHECK(contains(std::string(all.at("notes").at(0).as_string()),
                   "after.csv has no journal beside it"));
}

TEST_CASE("the journal counts where a CSV is older") {
    KeptSweeps sandbox;
    sandbox.replace_in("after.csv", ",ok,", ",not_run,");
    CHECK(verdicts(compared(sandbox, {"before.csv", "after.csv"})) ==
          "- - SAME SLOWER FASTER INCONCLUSIVE SAME -");
}

TEST_CASE("different machines are refused, unless they are meant") {
    KeptSweeps sandbox;
    sandbox.replace_in("after/journal.jsonl", "580.159.04", "575.10");
    CHECK(refusal(sandbox, {"before.csv", "after.csv"}) ==
          "isosweep: before.csv and after.csv are from different machines: driver '580.159.04' and "
          "'575.10'; compare them all the same with --force\n");
    sandbox.replace_in("after/journal.jsonl", "NVIDIA H200 (140 GiB)", "NVIDIA H100 (80 GiB)");
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv"}),
                   "GPU 'NVIDIA H200 (140 GiB)' and 'NVIDIA H100 (80 GiB)'"));
    CHECK(compared(sandbox, {"before.csv", "after.csv", "--force"}).at("cells_timed") == 5);
}

TEST_CASE("what cannot be compared is one line") {
    KeptSweeps sandbox;
    CHECK(contains(refusal(sandbox, {"before.csv"}), "compare needs two sweeps"));
    CHECK(contains(refusal(sandbox, {"before.csv", "--force"}), "compare needs two sweeps"));
    CHECK(contains(refusal(sandbox, {"before.csv", "none.csv"}),
                   "none.csv: there is no such file or folder"));
    CHECK(
        contains(refusal(sandbox, {"before.csv", "x.cfg"}), "there is no results/x/journal.jsonl"));
    fs::create_directory(sandbox.path("folder"));
    CHECK(contains(refusal(sandbox, {"before.csv", "folder/"}), "folder.csv"));
    write_file(sandbox.path("empty.csv"), "");
    CHECK(contains(refusal(sandbox, {"empty.csv", "after.csv"}), "the CSV is empty"));
    write_file(sandbox.path("foreign.csv"), "a,b\n1,2\n");
    CHECK(contains(refusal(sandbox, {"before.csv", "foreign.csv"}), "it has no column model_size"));
    write_file(sandbox.path("none.csv"), "model_size,key,status\n");
    CHECK(contains(refusal(sandbox, {"before.csv", "none.csv"}), "the sweep has no cells"));
    write_file(sandbox.path("bad.csv"), "model_size,key,status,batch_size\nsmall,k,ok,many\n");
    CHECK(contains(refusal(sandbox, {"before.csv", "bad.csv"}),
                   "bad.csv: row 2: batch_size = 'many': expected"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv", "--threshold", "0"}),
                   "--threshold = '0': expected percent above 0"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv", "--format", "latex"}),
                   "expected one of text, markdown, json"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv", "--output", "after.csv"}),
                   "a comparison is no CSV"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv", "--fore"}),
                   "unknown flag '--fore' of compare; did you mean 'force'"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv", "--ignore", "kernel"}),
                   "--ignore: no cell has a field 'kernel'"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv", "--by", "kernels"}),
                   "expected FIELD=A:B"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv", "--by", "kernels=fused:fused"}),
                   "before.csv: no cell is as --by asks for; kernels is reference"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv", "--ignore", "pass-type"}),
                   "before.csv: two cells are the same in what is compared: small, context 64"));
    // Rows that tell no times are nothing to judge, and nothing worse.
    write_file(sandbox.path("bare.csv"), "model_size,key,status\nsmall,k,ok\n");
    CHECK(compared(sandbox, {"bare.csv", "bare.csv"}).at("cells_timed") == 0);
    sandbox.replace_in("after.csv", "small,", "medium,");
    fs::remove_all(sandbox.path("after"));
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv"}), "have no cell in common"));
    write_file(sandbox.path("before/journal.jsonl"), "{\"record\":\"header\"\n{}\n");
    CHECK(contains(refusal(sandbox, {"before.csv", "after.csv"}),
                   "before/journal.jsonl:1: not a record of a journal"));
}

TEST_CASE("two runs of the same are the same, one that is slower is found") {
    Sandbox sandbox("axis.behaviour = steady\nmeasure-steps = 20\ncontext-length = 64, 128\n");
    REQUIRE(sandbox.sweep({"--output", "one.csv"}).exit_code == 0);
    REQUIRE(sandbox.sweep({"--output", "two.csv"}).exit_code == 0);
    sandbox.set_variable("FAKE_WORKER_SCALE=1.05");
    REQUIRE(sandbox.sweep().exit_code == 0);
    CHECK(verdicts(compared(sandbox, {"one.csv", "two.csv"})) == "SAME SAME");
    // By its CSV, by its config, and by its folder.
    for (const char* slow : {"results/x.csv", "x.cfg", "results/x", "results/x/"}) {
        CAPTURE(slow);
        const json::object all = compared(sandbox, {"one.csv", slow});
        CHECK(verdicts(all) == "SLOWER SLOWER");
        CHECK(all.at("mean_time_ratio").as_double() == doctest::Approx(1.05).epsilon(1e-4));
        CHECK(all.at("cells").at(0).at("basis") == "samples");
    }
}

TEST_CASE("an outcome that is lost is worse, one that is gained is better") {
    Sandbox sandbox("axis.behaviour = ok, crash_once\nretry = none\n");
    CHECK(sandbox.sweep({"--output", "one.csv"}).exit_code == 1);
    CHECK(sandbox.sweep({"--output", "two.csv"}).exit_code == 0);
    const json::object gained = compared(sandbox, {"one.csv", "two.csv"});
    CHECK(gained.at("outcomes_better") == 1);
    CHECK(gained.at("worse") == false);
    CHECK(gained.at("cells").at(1).at("a").at("outcome") == "crash");
    const json::object lost = compared(sandbox, {"two.csv", "one.csv"});
    CHECK(lost.at("outcomes_worse") == 1);
    CHECK(lost.at("worse") == true);
    CHECK(lost.at("cells").at(1).at("outcome_change") == "worse");
}

TEST_CASE("of three replicates the processes are compared, not their samples") {
    Sandbox sandbox("axis.behaviour = steady\nreplicates = 3\n");
    REQUIRE(sandbox.sweep({"--output", "one.csv"}).exit_code == 0);
    sandbox.set_variable("FAKE_WORKER_SCALE=1.05");
    REQUIRE(sandbox.sweep().exit_code == 0);
    const json::object all = compared(sandbox, {"one.csv", "results/x.csv"});
    CHECK(verdicts(all) == "SLOWER");
    CHECK(all.at("cells").at(0).at("basis") == "processes");
    CHECK(all.at("cells").at(0).at("b").at("processes") == 3);
    // One of them against another is one process a side.
    CHECK(compared(sandbox, {"one.csv", "one.csv", "--by", "replicate=1:3"})
              .at("cells")
              .at(0)
              .at("basis") == "samples");
}

TEST_CASE("a value of an axis is compared with another one, also within one sweep") {
    Sandbox sandbox("axis.behaviour = steady, ok\nkernels = reference, fused\n");
    REQUIRE(sandbox.sweep().exit_code == 0);
    const json::object all =
        compared(sandbox, {"x.cfg", "x.cfg", "--by", "kernels=reference:fused"});
    CHECK(verdicts(all) == "SAME INCONCLUSIVE");
    CHECK(all.at("cells").at(0).at("a").at("key") != all.at("cells").at(0).at("b").at("key"));
    // Custom axes, too; two pairs at a time, and what is ignored.
    const json::object custom = compared(
        sandbox, {"x.cfg", "x.cfg", "--by", "axis.behaviour=steady:ok", "kernels=reference:fused"});
    CHECK(verdicts(custom) == "FASTER");
    REQUIRE(sandbox
                .sweep({"--output", "few.csv", "--kernels", "fused", "--measure-steps", "12",
                        "--axis.behaviour", "steady"})
                .exit_code == 0);
    CHECK(verdicts(compared(sandbox, {"x.cfg", "few.csv", "--by", "kernels=reference:fused",
                                      "--ignore", "measure-steps"})) == "SAME");
}

TEST_SUITE_END();
