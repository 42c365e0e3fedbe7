// Every view in every format, against the files in tests/expected/views. With
// ISOSWEEP_WRITE_EXPECTED set they are written instead: read the difference before it is committed.
#include <doctest/doctest.h>

#include <cstdlib>

#include "orchestrator/views.h"
#include "sandbox.h"
#include "temp_folder.h"

using namespace isosweep;

namespace {

struct FileFormat {
    const char* ending;
    std::string (*print)(const Table& table, const std::vector<ShownColumn>& shown);
};

constexpr FileFormat formats[] = {
    {"txt", to_text},
    {"csv", [](const Table& table, const std::vector<ShownColumn>&) { return to_csv(table); }},
    {"md", to_markdown},
    {"tex", to_latex},
    {"typ", to_typst},
    {"html", to_html},
};

}  // namespace

TEST_CASE("every view prints in every format as in its file") {
    const std::filesystem::path folder = std::string(TESTS_DIR) + "/expected/views";
    const Table cells = read_csv((folder / "sweep.csv").string());
    for (const auto& [view, name] : EnumNames<View>::value) {
        const Table table = apply_view(cells, view);
        for (const FileFormat& format : formats) {
            const std::filesystem::path file = folder / (std::string(name) + "." + format.ending);
            CAPTURE(file.string());
            const std::string text = format.print(table, shown_columns(view, table));
            if (std::getenv("ISOSWEEP_WRITE_EXPECTED") != nullptr) tests::write_file(file, text);
            CHECK(text == tests::file_contents(file));
        }
    }
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE("report prints every view, from the CSV as from the journal") {
    tests::Sandbox sandbox("axis.behaviour = ok, report:oom_gpu\ncontext-length = 64, 128\n");
    REQUIRE(sandbox.sweep().exit_code == 0);
    for (const auto& entry : EnumNames<View>::value) {
        const std::string view(entry.second);
        CAPTURE(view);
        const tests::Ran from_csv = sandbox.run({"report", "results/x.csv", "--view", view});
        CHECK(from_csv.exit_code == 0);
        CHECK(from_csv.err ==
              (view == "phases" ? "no cell of results/x.csv belongs into the view phases\n" : ""));
        CHECK(sandbox.run({"report", "x.cfg", "--view", view}).out == from_csv.out);
    }
    CHECK(sandbox.run({"report", "x.cfg", "--format", "latex"}).out.starts_with("% needs"));
    CHECK(sandbox.run({"report", "x.cfg", "--format", "typst"}).out.starts_with("#table("));
}

TEST_CASE("the failures of a sweep have their cause and the script that runs them again") {
    tests::Sandbox sandbox("axis.behaviour = ok, exit:3, report:oom_gpu\n");
    CHECK(sandbox.sweep().exit_code == 1);
    for (const char* subject : {"x.cfg", "results/x.csv"}) {
        CAPTURE(subject);
        const tests::Ran ran = sandbox.run({"report", subject, "--view", "failures", "--format",
                                            "csv", "--output", "failures.csv"});
        CHECK(ran.exit_code == 0);
        const Table table = read_csv(sandbox.path("failures.csv").string());
        REQUIRE(table.row_count() == 2);
        CHECK(exact_text(table.at(0, "cause")).starts_with("oom_gpu"));
        CHECK(exact_text(table.at(1, "cause")).starts_with("error"));
        CHECK(exact_text(table.at(1, "cause")).ends_with("(exit code 3)"));
        const std::string script = exact_text(table.at(1, "repro"));
        CHECK(script == "results/x/cells/" + exact_text(table.at(1, "key")) + "/repro.sh");
        CHECK(std::filesystem::exists(sandbox.path(script)));
        CHECK(sandbox.run({"report", subject, "--view", "failures"}).out.find(script) !=
              std::string::npos);
    }
}

TEST_SUITE_END();
