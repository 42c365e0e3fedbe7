// The page that `report --format html` writes: what is in it, and that a browser takes it.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <regex>

#include "orchestrator/process.h"
#include "sandbox.h"

using namespace isosweep;
using isosweep::tests::contains;
using isosweep::tests::Ran;
using isosweep::tests::Sandbox;

namespace {

const std::string hostile = "<script>window.hacked=1</script>";

/// A sweep with cells that end in several ways and an axis whose values try to be markup.
std::unique_ptr<Sandbox> mixed_sweep() {
    auto sandbox = std::make_unique<Sandbox>(
        "# the config's own " + hostile +
        "\ncontext-length = 64, 128\npass-type = forward_backward\nretry = crash:1\n"
        "axis.behaviour = ok, garbage, exit:3, report:oom_gpu, crash_once, crash\naxis.note = " +
        hostile + "\n");
    CHECK(sandbox->sweep().exit_code == 1);
    return sandbox;
}

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t times = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++times;
    return times;
}

/// A browser that can open a file anywhere: one that came as a snap sees no /tmp.
std::string find_browser() {
    for (const char* const name : {"chromium", "google-chrome"})
        if (const std::string program = find_program(name);
            !program.empty() && !contains(std::filesystem::canonical(program).string(), "snap"))
            return program;
    return {};
}

}  // namespace

TEST_SUITE_BEGIN("sweep");

TEST_CASE("a page has its sections, and whatever others wrote is text in it") {
    const auto sandbox = mixed_sweep();
    tests::write_file(
        sandbox->path("results/x/cells/") /
            exact_text(read_csv(sandbox->path("results/x.csv").string()).at(2, "key")) /
            "attempt-1.log",
        "first line\n    indented " + hostile + "\x1b[31m\xff\n");
    const Ran ran = sandbox->run({"report", "x.cfg", "--format", "html", "--output", "x.html"});
    CHECK(ran.exit_code == 0);
    CHECK(ran.err == "");
    const std::string page = sandbox->file("x.html");
    CHECK(page.starts_with("<!doctype html>"));
    for (const char* const id : {"summary", "machine", "plots", "tables", "failures"})
        CHECK(contains(page, "<section id=\"" + std::string(id) + "\">"));
    for (const char* const view : {"cells", "phases", "memory", "scaling", "failures"})
        CHECK(contains(page, "<h3 id=\"view_" + std::string(view) + "\">"));
    CHECK(!contains(page, "view_warmup"));  // nothing to compare
    CHECK(contains(page, "<span class=\"status good\">6 ok</span>"));
    CHECK(contains(page, "<span class=\"status warn\">2 oom_gpu</span>"));
    CHECK(contains(page, "isosweep retry x.cfg --status crash,error"));
    CHECK(count(page, "<article ") == 6);
    const Table cells = read_csv(sandbox->path("results/x.csv").string());
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        const std::string key = exact_text(cells.at(row, "key"));
        const bool is_ok = exact_text(cells.at(row, "status")) == "ok";
        CHECK(contains(page, "isosweep run x.cfg --only " + key + "<") != is_ok);
        CHECK(contains(page, "sh results/x/cells/" + key + "/repro.sh<") != is_ok);
    }
    CHECK(contains(page, "ended with exit code 3 in phase measure"));
    CHECK(contains(page, "first line\n    indented &lt;script&gt;"));
    CHECK(contains(page, "the config's own &lt;script&gt;"));
    CHECK(count(page, "<script") == 1);
    CHECK(!contains(page, "\x1b"));
    // Nothing is fetched from anywhere: the only addresses are the names of XML's own languages.
    CHECK(!std::regex_search(page, std::regex("(src|href)=[\"']?(https?:|//|file:)")));
    CHECK(contains(page, "default-src 'none'"));
    // One view alone, and the same from the CSV.
    const std::string one =
        sandbox->run({"report", "results/x.csv", "--format", "html", "--view", "memory"}).out;
    CHECK(contains(one, "view_memory"));
    CHECK(!contains(one, "view_cells"));
    CHECK(contains(one, "/repro.sh"));
    CHECK(!contains(one, "isosweep retry"));  // it does not know the config
}

TEST_CASE("plots are written to a folder, alone or beside a report") {
    if (find_program("gnuplot").empty()) return;
    const auto sandbox = mixed_sweep();
    const Ran alone = sandbox->run({"report", "x.cfg", "--plots", "alone"});
    CHECK(alone.exit_code == 0);
    CHECK(alone.out == "");
    CHECK(alone.err == "written: 4 plots in alone\n");
    for (const char* const name :
         {"step_time_forward_backward", "warmup_forward_backward", "phases", "timeline"}) {
        CAPTURE(name);
        const std::string file = "alone/" + std::string(name);
        CHECK(contains(sandbox->file(file + ".svg"), "</svg>"));
        CHECK(sandbox->file(file + ".png").starts_with("\x89PNG"));
    }
    CHECK(contains(sandbox->file("alone/timeline.svg"), "crash or error, made again"));
    const Ran both =
        sandbox->run({"report", "results/x.csv", "--view", "phases", "--plots", "both"});
    CHECK(both.out == sandbox->run({"report", "results/x.csv", "--view", "phases"}).out);
    CHECK(std::filesystem::exists(sandbox->path("both/timeline.svg")));
    tests::write_file(sandbox->path("file"), "");
    CHECK(sandbox->run({"report", "x.cfg", "--plots", "file"}).exit_code == 4);
}

TEST_CASE("without gnuplot a page says what to install, and --plots fails") {
    const auto sandbox = mixed_sweep();
    sandbox->set_variable("PATH=" + sandbox->path("results").string());
    const Ran page = sandbox->run({"report", "x.cfg", "--format", "html"});
    CHECK(page.exit_code == 0);
    CHECK(page.err ==
          "warning: the report has no plots: gnuplot is missing, which draws the "
          "plots: apt-get install gnuplot-nox\n");
    CHECK(contains(page.out, "There are no plots: gnuplot is missing"));
    CHECK(contains(page.out, "view_cells"));
    const Ran plots = sandbox->run({"report", "x.cfg", "--plots", "p"});
    CHECK(plots.exit_code == 5);
    CHECK(plots.err ==
          "isosweep: gnuplot is missing, which draws the plots: apt-get install "
          "gnuplot-nox\n");
}

TEST_CASE("a CSV without its journal makes a page that says what is not there") {
    Sandbox sandbox("");
    std::filesystem::copy_file(std::string(TESTS_DIR) + "/expected/views/sweep.csv",
                               sandbox.path("lone.csv"));
    const Ran ran = sandbox.run({"report", "lone.csv", "--format", "html"});
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.out,
                   "Warm-up curves and the timeline need the sweep's journal, which is "
                   "not beside this CSV: lone/journal.jsonl"));
    CHECK(!contains(ran.out, "id=\"plot_timeline\""));
    CHECK(count(ran.out, "<article ") == 5);
}

TEST_SUITE_END();

TEST_SUITE_BEGIN("browser");

TEST_CASE("a browser opens the page from disk: no error, plots are there, tables sort") {
    const std::string browser = find_browser();
    if (browser.empty() || find_program("gnuplot").empty()) {
        MESSAGE("skipped: neither chromium nor google-chrome, or no gnuplot");
        return;
    }
    const auto sandbox = mixed_sweep();
    REQUIRE(sandbox->run({"report", "x.cfg", "--format", "html", "--output", "x.html"}).exit_code ==
            0);
    std::string page = sandbox->file("x.html");
    const std::string tables = std::to_string(count(page, "<table>"));
    // What watches goes in front of everything, what asks behind it.
    const std::string scripts = std::string(TESTS_DIR) + "/browser/";
    page.insert(page.find("<head>") + 6,
                "<script>" + tests::file_contents(scripts + "watch.js") + "</script>");
    page.insert(page.rfind("</body>"),
                "<script>" + tests::file_contents(scripts + "ask.js") + "</script>");
    tests::write_file(sandbox->path("watched.html"), page);
    std::filesystem::copy_file(scripts + "frames.html", sandbox->path("frames.html"));
    const Ran ran = sandbox->wait(sandbox->start_program(
        {browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--user-data-dir=" + sandbox->path("profile").string(), "--virtual-time-budget=5000",
         "--dump-dom", "file://" + sandbox->path("frames.html").string()}));
    CHECK(ran.exit_code == 0);
    const std::size_t at = ran.out.find("<title>");
    REQUIRE(at != std::string::npos);
    const std::string well = " px: problems: none; plots: 4 of 4; tables: " + tables +
                             "; wrongly sorted: none; hacked: false; too wide: false";
    CHECK(ran.out.substr(at + 7, ran.out.find("</title>") - at - 7) ==
          "1200" + well + " | 390" + well);
}

TEST_SUITE_END();
