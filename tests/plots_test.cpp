#include "orchestrator/plots.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "orchestrator/cells_table.h"
#include "orchestrator/curves.h"
#include "orchestrator/errors.h"
#include "orchestrator/process.h"
#include "sandbox.h"

using namespace isosweep;
using isosweep::tests::contains;

namespace {

const std::filesystem::path reference = std::string(SOURCE_DIR) + "/results/reference/NVIDIA-H200";

/// A table as `cells` has one, from rows of "size parameters context precision replicate time".
struct Row {
    const char* size;
    std::int64_t parameters;
    std::int64_t context;
    const char* precision = "fp32";
    double time = 0;  ///< 0: out of memory
    std::int64_t replicate = 1;
    const char* pass = "forward";
};

Table table_of(const std::vector<Row>& rows) {
    Table table;
    for (const Row& row : rows) {
        table.add_row();
        table.set("model_size", std::string(row.size));
        table.set("num_params", row.parameters);
        table.set("context_length", row.context);
        table.set("pass_type", std::string(row.pass));
        table.set("precision", std::string(row.precision));
        table.set("seed", row.replicate + 6);
        table.set("replicate", row.replicate);
        table.add_column("sample_std_time_ms");  // from here on there are no axes
        table.set("status", std::string(row.time > 0 ? "ok" : "oom_gpu"));
        if (row.time > 0) {
            table.set("time", row.time);
            table.set("median_time_ms", row.time);
            table.set("low", 0.9 * row.time);
            table.set("high", 1.1 * row.time);
        }
    }
    return table;
}

const Reading reading = {"time", "low", "high"};

std::vector<std::string> names_of_plots(const std::vector<Plot>& plots) {
    std::vector<std::string> names;
    for (const Plot& plot : plots) names.push_back(plot.name);
    return names;
}

const Plot& plot_named(const std::vector<Plot>& plots, const std::string& name) {
    const auto found = std::find_if(plots.begin(), plots.end(),
                                    [&](const Plot& plot) { return plot.name == name; });
    REQUIRE(found != plots.end());
    return *found;
}

}  // namespace

TEST_CASE("curves run along the context length where it varies, one for each of the rest") {
    const std::vector<Panel> panels =
        make_panels(table_of({{"small", 100, 256, "fp32", 4},
                              {"small", 100, 128, "fp32", 2},
                              {"small", 100, 128, "bf16", 1},
                              {"large", 900, 128, "fp32", 8},
                              {"large", 900, 256, "fp32"},
                              {"small", 100, 128, "fp32", 6, 1, "train_step"},
                              {"small", 100, 256, "fp32", 7, 1, "train_step"}}),
                    reading);
    REQUIRE(panels.size() == 2);
    CHECK(panels[0].label == "forward");
    CHECK(panels[1].label == "train step");
    CHECK(panels[0].abscissa.column == "context_length");
    CHECK(panels[0].abscissa.ticks ==
          std::vector<std::pair<double, std::string>>{{128, "128"}, {256, "256"}});
    const std::vector<Curve>& curves = panels[0].curves;
    REQUIRE(curves.size() == 3);
    CHECK(curves[0].label == "small, fp32");
    REQUIRE(curves[0].points.size() == 2);
    CHECK(curves[0].points[0].x == 128);
    CHECK(curves[0].points[1].y == 4);
    CHECK(curves[0].points[1].low == doctest::Approx(3.6));
    CHECK(curves[0].points[1].high == doctest::Approx(4.4));
    CHECK(curves[1].label == "small, bf16");
    CHECK(curves[1].color == curves[0].color);
    CHECK(curves[1].mark != curves[0].mark);
    CHECK(curves[2].label == "large, fp32");
    CHECK(curves[2].color != curves[0].color);
    CHECK(curves[2].mark == curves[0].mark);
    CHECK(curves[2].points.size() == 1);
    CHECK(curves[2].out_of_memory == std::vector<double>{256});
}

TEST_CASE(
    "replicates and seeds are one point: the median, with an interval that holds all of theirs") {
    const std::vector<Panel> panels = make_panels(table_of({{"small", 100, 128, "fp32", 3, 1},
                                                            {"small", 100, 128, "fp32", 1, 2},
                                                            {"small", 100, 128, "fp32", 2, 3},
                                                            {"small", 100, 256, "fp32", 5, 1}}),
                                                  reading);
    REQUIRE(panels.size() == 1);
    REQUIRE(panels[0].curves.size() == 1);
    const CurvePoint& point = panels[0].curves[0].points[0];
    CHECK(point.y == 2);
    CHECK(point.low == doctest::Approx(0.9));
    CHECK(point.high == doctest::Approx(3.3));
}

TEST_CASE("curves run along the size by its parameters where nothing else makes a curve") {
    const Table table = table_of({{"large", 900, 512, "fp32", 9},
                                  {"small", 100, 512, "fp32", 2},
                                  {"huge", 20'000, 128, "fp32", 30}});
    const std::vector<Panel> panels = make_panels(table, reading);
    REQUIRE(panels.size() == 1);
    CHECK(panels[0].abscissa.column == "model_size");
    CHECK(panels[0].abscissa.is_logarithmic);
    CHECK(panels[0].abscissa.ticks.front() == std::pair<double, std::string>(100, "small"));
    CHECK(panels[0].curves[0].label == "context 512");
}

TEST_CASE("where no number varies every cell has a place of its own") {
    const std::vector<Panel> panels = make_panels(
        table_of({{"small", 100, 512, "fp32", 9}, {"small", 100, 512, "bf16", 2}}), reading);
    REQUIRE(panels.size() == 1);
    CHECK(panels[0].abscissa.column.empty());
    CHECK(panels[0].abscissa.ticks ==
          std::vector<std::pair<double, std::string>>{{1, "fp32"}, {2, "bf16"}});
}

TEST_CASE("more curves than one can tell apart become several plots") {
    std::vector<Row> rows;
    for (const char* size : {"a", "b", "c", "d"})
        for (const char* precision : {"fp32", "tf32", "bf16"})
            for (const std::int64_t context : {128, 256})
                rows.push_back({size, size[0], context, precision, 1.0});
    const std::vector<Panel> panels = make_panels(table_of(rows), reading);
    REQUIRE(panels.size() == 3);
    CHECK(panels[0].label == "forward, fp32");
    CHECK(panels[0].curves.size() == 4);
    CHECK(panels[0].curves[0].label == "a");
}

TEST_CASE("there are at most twelve plots of a kind, and the last one says so") {
    std::vector<Row> rows;
    const std::vector<std::string> precisions = {"a", "b", "c", "d", "e", "f", "g",
                                                 "h", "i", "j", "k", "l", "m", "n"};
    for (const std::string& precision : precisions)
        for (const char* size : {"A", "B"})
            for (const std::int64_t context : {128, 256})
                rows.push_back({size, size[0], context, precision.c_str(), 1.0});
    const std::vector<Plot> plots = make_plots(table_of(rows), nullptr);
    REQUIRE(plots.size() == 12);
    CHECK(!contains(plots[10].caption, "Left out"));
    CHECK(contains(plots[11].caption, "Left out are 2 more of this kind"));
}

TEST_CASE("no measured cell, or a single one, makes no plot") {
    CHECK(make_panels(table_of({{"small", 100, 128}, {"small", 100, 256}}), reading).empty());
    CHECK(make_panels(table_of({{"small", 100, 128, "fp32", 1}}), reading).empty());
    CHECK(make_panels(Table{}, reading).empty());
    CHECK(make_plots(Table{}, nullptr).empty());
}

TEST_CASE("a sweep has the plots that it has data for, each told in words") {
    const Table cells = read_csv((reference / "run_benchmarks_16GiB.csv").string());
    const Journal journal = Journal::read(reference / "run_benchmarks_16GiB" / "journal.jsonl");
    const std::vector<Plot> plots = make_plots(cells, &journal);
    CHECK(names_of_plots(plots) ==
          std::vector<std::string>{"step_time_forward", "step_time_forward_backward",
                                   "memory_forward", "memory_forward_backward", "warmup_forward",
                                   "warmup_forward_backward", "phases", "timeline"});
    CHECK(plot_named(plots, "step_time_forward").description ==
          "Median step time by model size. 19 ms at small, 331 ms at 2.7B.");
    CHECK(plot_named(plots, "memory_forward_backward").description ==
          "Peak allocated memory by model size. 3.63 GiB at small, 9.72 GiB at medium, out of "
          "memory at large, at xl, at 2.7B. Capacity: 16 GiB.");
    CHECK(contains(plot_named(plots, "phases").description,
                   "small: forward 35 %, backward 65 %; medium: forward 34 %, backward 66 %"));
    CHECK(plot_named(plots, "timeline").description ==
          "10 attempts at 10 cells within 24 s: 7 ok, 3 oom_gpu.");
    CHECK(contains(plot_named(plots, "warmup_forward").description, "small: 12.1 times"));
    // What needs the journal is left out without one.
    const std::vector<std::string> fewer = names_of_plots(make_plots(cells, nullptr));
    CHECK(fewer.size() == plots.size() - 3);
    CHECK(std::find(fewer.begin(), fewer.end(), "timeline") == fewer.end());
    const std::vector<std::string> with_peak = names_of_plots(
        make_plots(read_csv((reference / "reference_kernels.csv").string()), nullptr));
    CHECK(std::find(with_peak.begin(), with_peak.end(), "mfu_train_step") != with_peak.end());
}

TEST_CASE("a drawn plot says what it shows, turns dark, and holds no markup of others") {
    if (find_program("gnuplot").empty()) {
        MESSAGE("gnuplot is missing: nothing was drawn");
        return;
    }
    const Table cells = read_csv(std::string(TESTS_DIR) + "/expected/views/sweep.csv");
    std::vector<Plot> plots = make_plots(cells, nullptr);
    REQUIRE(!plots.empty());
    const std::string hostile = "<script>alert(1)</script> 'rgb(9, ' `id` @x rgb(1,2,3) \"$y\" \\n";
    plots[0].title = hostile;
    plots[0].commands = "set title " + gnuplot_text(hostile, 200) + "\nplot [0:1] x notitle\n";
    const std::vector<DrawnPlot> drawn = draw(plots, PlotFiles::svg_and_png);
    REQUIRE(drawn.size() == plots.size());
    for (std::size_t i = 0; i < plots.size(); ++i) {
        CAPTURE(plots[i].name);
        const std::string& svg = drawn[i].svg;
        CHECK(svg.starts_with("<?xml"));
        CHECK(contains(svg, "<svg class=\"plot\" role=\"img\""));
        CHECK(contains(svg, "<desc>"));
        CHECK(contains(svg, "prefers-color-scheme:dark"));
        CHECK(!contains(svg, "<script"));
        CHECK(!contains(svg, "'black'"));
        CHECK(drawn[i].png.starts_with("\x89PNG"));
        const std::string part = inline_svg(plots[i], drawn[i]);
        CHECK(part.starts_with("<svg aria-label=\""));
        CHECK(!contains(part, "<style>"));
        CHECK(contains(part, "id='" + plots[i].name + "_gpDot'"));
    }
    CHECK(contains(drawn[0].svg, "&lt;script"));
    CHECK(contains(drawn[0].svg, "`id` @x"));
}

TEST_CASE("a text for gnuplot is one quoted word") {
    CHECK(gnuplot_text("it's\n'so'") == "'it''s ''so'''");
    CHECK(gnuplot_text("") == "''");
    CHECK(gnuplot_text("123456", 3) == "'123...'");
}

TEST_CASE("gnuplot's own complaint is told in one line") {
    if (find_program("gnuplot").empty()) return;
    Plot plot;
    plot.name = "wrong";
    plot.commands = "plot nonsense\n";
    CHECK_THROWS_WITH_AS(draw({plot}, PlotFiles::svg),
                         doctest::Contains("undefined variable: nonsense"), EnvironmentError);
}

TEST_CASE("a timeline leaves out the time in which no run was going on") {
    tests::TempFolder folder;
    Journal journal = Journal::open(folder / "j");
    journal.write_header({});
    Cell cell;
    const std::string key = key_of(cell);
    Attempt attempt;
    attempt.token = "t";
    const auto end = [&](std::int64_t start_ms, Status status, Decision decision) {
        attempt.outcome.status = status;
        attempt.decision = decision;
        attempt.start_ms = start_ms;
        attempt.elapsed_ms = 1000;
        journal.write_start(key, attempt.number, "n", "t", {});
        journal.write_end(key, attempt);
        ++attempt.number;
    };
    end(1'000'000, Status::crash, Decision::retry);
    end(1'001'000, Status::crash, Decision::record);
    end(1'000'000 + 3'602'000, Status::error, Decision::record);
    const std::vector<Plot> plots = make_plots(make_cells_table({{key, cell}}, journal), &journal);
    REQUIRE(plots.size() == 1);
    CHECK(plots[0].name == "timeline");
    CHECK(plots[0].description ==
          "3 attempts at 1 cell within 3.0 s: 1 crash, 1 error, and 1 made again.");
    CHECK(contains(plots[0].caption, "A hollow bar is an attempt that was made again."));
    CHECK(contains(plots[0].caption, "At a dashed line nothing ran; left out are 1 h 00 min."));
}
