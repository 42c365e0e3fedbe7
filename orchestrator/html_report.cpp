#include "orchestrator/html_report.h"

#include <isosweep/build_info.h>
#include <isosweep/outcome.h>
#include <isosweep/text.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <sstream>

#include "orchestrator/clock.h"
#include "orchestrator/curves.h"
#include "orchestrator/errors.h"
#include "orchestrator/failures.h"
#include "orchestrator/files.h"
#include "orchestrator/html.h"
#include "orchestrator/html_assets.h"
#include "orchestrator/view_parts.h"
#include "orchestrator/views.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// A term and what is said of it, both plain text; nothing where the text is empty.
std::string fact(const std::string& term, const std::string& text) {
    if (text.empty()) return {};
    return "<div><dt>" + escape_html(term) + "</dt><dd>" + escape_html(text) + "</dd></div>\n";
}

std::string facts(const std::string& all) {
    return all.empty() ? "" : "<dl class=\"facts\">\n" + all + "</dl>\n";
}

/// A command to be copied.
std::string command_block(const std::string& command) {
    return "<div class=\"command\"><pre><code>" + escape_html(command) + "</code></pre></div>\n";
}

std::string section(const std::string& id, const std::string& heading, const std::string& content) {
    if (content.empty()) return {};
    return "<section id=\"" + id + "\">\n<h2>" + heading + "</h2>\n" + content + "</section>\n";
}

/// A text of many lines, each as `one_line` leaves it but for the blanks that it begins with: no
/// control characters, no lines without end.
std::string printable_lines(const std::string& text) {
    std::string lines;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line = std::string_view(text).substr(at, end - at);
        const std::size_t blanks = std::min(line.find_first_not_of(" \t"), line.size());
        lines += std::string(std::min<std::size_t>(blanks, 40), ' ') + one_line(line, 300) + "\n";
        at = end + 1;
    }
    return lines;
}

std::string css_class(std::string_view status) {
    const auto known = from_name<Status>(status);
    if (known == Status::ok) return "status good";
    if (known == Status::oom_gpu || known == Status::oom_host) return "status warn";
    return known && is_failed(*known) && *known != Status::not_run ? "status bad" : "status";
}

// --- summary ------------------------------------------------------------------------------------

std::map<Status, int> count_statuses(const Table& cells) {
    std::map<Status, int> counts;
    for (const std::size_t row : all_rows_of(cells))
        if (const auto status = from_name<Status>(text_at(cells, row, "status"))) ++counts[*status];
    return counts;
}

/// The sum of a column, or of its product with another one.
double sum_of(const Table& cells, std::string_view column, std::string_view factor = {}) {
    double sum = 0;
    for (const std::size_t row : all_rows_of(cells))
        if (const auto number = number_at(cells, row, column))
            sum += *number * (factor.empty() ? 1 : number_at(cells, row, factor).value_or(0));
    return sum;
}

/// "2026-11-22 21:50:12 UTC" of "2026-11-22T21:50:12Z".
std::string readable_time(std::string time) {
    if (time.size() != 20) return time;
    time[10] = ' ';
    return time.substr(0, 19) + " UTC";
}

/// When the attempts at a sweep's cells ran, in milliseconds, all of them where there is a journal;
/// else those that are the cells' outcomes, of which a CSV does not tell the end.
struct SweepTimes {
    std::string first_start;
    std::int64_t begin = 0;
    std::int64_t end = 0;
    double in_attempts = 0;
};

SweepTimes times_of(const ReportSource& source) {
    SweepTimes times;
    std::set<std::string> keys;
    for (const std::size_t row : all_rows_of(source.cells)) {
        keys.insert(text_at(source.cells, row, "key"));
        const std::string start = text_at(source.cells, row, "started_at");
        if (!start.empty() && (times.first_start.empty() || start < times.first_start))
            times.first_start = start;
    }
    times.in_attempts = sum_of(source.cells, "elapsed_ms");
    if (!source.journal) return times;
    times.in_attempts = 0;
    for (const AttemptSpan& span : source.journal->spans()) {
        if (!keys.contains(std::string(span.key)) || span.status == Status::skipped) continue;
        times.begin = times.begin == 0 ? span.start_ms : std::min(times.begin, span.start_ms);
        times.end = std::max(times.end, span.start_ms + span.elapsed_ms);
        times.in_attempts += static_cast<double>(span.elapsed_ms);
    }
    if (times.begin > 0) times.first_start = format_utc(times.begin);
    return times;
}

std::string facts_of(const SweepTimes& times, double in_steps) {
    std::string all;
    if (!times.first_start.empty()) all += fact("First start", readable_time(times.first_start));
    if (times.end > times.begin)
        all += fact("Last end", readable_time(format_utc(times.end))) +
               fact("From first start to last end",
                    format_duration(static_cast<double>(times.end - times.begin)));
    if (times.in_attempts > 0) all += fact("In attempts", format_duration(times.in_attempts));
    if (in_steps > 0 && times.in_attempts > 0)
        all += fact("Of that in measured steps",
                    format_duration(in_steps) + " (" +
                        format_fixed(100 * in_steps / times.in_attempts, 1) + " %)");
    return all;
}

std::string go_on(const ReportSource& source, const std::map<Status, int>& counts) {
    if (source.config.empty()) return {};
    const std::string config = shell_quoted(source.config.string());
    std::vector<std::string> failed;
    bool is_incomplete = false;
    for (const auto& [status, count] : counts) {
        if (is_final(status) && is_failed(status)) failed.emplace_back(to_name(status));
        is_incomplete = is_incomplete || (!is_final(status) && status != Status::skipped);
    }
    std::string text;
    if (is_incomplete)
        text += "<p>Go on where it stopped:</p>\n" + command_block("isosweep run " + config);
    if (!failed.empty())
        text += "<p>Run again what failed:</p>\n" +
                command_block("isosweep retry " + config + " --status " + join(failed, ","));
    if (counts.contains(Status::oom_gpu))
        text +=
            "<p>Look for smaller cells that fit where memory ended:</p>\n" +
            command_block("isosweep retry " + config + " --status oom_gpu --fallback batch-size/2");
    return text;
}

std::string summary_section(const ReportSource& source, const std::map<Status, int>& counts) {
    std::string chips = "<ul class=\"chips\">\n";
    for (const auto& [status, count] : counts) {
        const std::string name(to_name(status));
        chips += "<li><span class=\"" + css_class(name) + "\">" + std::to_string(count) + " " +
                 name + "</span></li>\n";
    }
    chips += "</ul>\n";
    std::map<std::string, int> flags;
    for (const std::size_t row : all_rows_of(source.cells)) {
        std::istringstream words(text_at(source.cells, row, "flags") + " " +
                                 text_at(source.cells, row, "check_flags"));
        for (std::string flag; words >> flag;) ++flags[flag];
    }
    std::vector<std::string> flag_counts;
    for (const auto& [flag, count] : flags)
        flag_counts.push_back(flag + " (" + std::to_string(count) + ")");
    std::string all = fact("Cells", std::to_string(source.cells.row_count())) +
                      fact("Attempts", format_fixed(sum_of(source.cells, "attempts"), 0)) +
                      facts_of(times_of(source), sum_of(source.cells, "mean_time_ms", "samples"));
    all += fact("Flags", join(flag_counts, ", "));
    return section(
        "summary", "Summary",
        "<div class=\"card\">\n" + chips + facts(all) + go_on(source, counts) + "</div>\n");
}

// --- machine ------------------------------------------------------------------------------------

/// The different values of a column, in their order.
std::string values_of(const Table& cells, const std::string& column) {
    std::vector<std::string> values;
    for (const std::size_t row : all_rows_of(cells)) {
        const std::string value = one_line(text_at(cells, row, column), 200);
        if (!value.empty() && std::find(values.begin(), values.end(), value) == values.end())
            values.push_back(value);
    }
    return join(values, ", ");
}

std::string machine_section(const ReportSource& source) {
    constexpr std::pair<const char*, const char*> columns[] = {
        {"Device", "device"},
        {"GPU", "gpu"},
        {"GPU's UUID", "gpu_uuid"},
        {"Driver", "driver"},
        {"CUDA runtime", "cuda_runtime"},
        {"Compute capability", "compute_capability"},
        {"Multiprocessors", "sm_count"},
        {"Power limit, W", "power_limit_w"},
        {"Highest SM clock, MHz", "sm_clock_max_mhz"},
        {"Peak, TFLOP/s", "peak_tflops"},
        {"CPUs", "cpus"},
        {"Threads of a worker", "num_threads"},
        {"LibTorch", "torch"},
        {"Worker's build", "worker_build"},
        {"isosweep's build", "isosweep_build"},
        {"Isolation", "isolation"},
        {"Allocator's settings", "allocator_settings"},
        {"Warning", "warning"},
    };
    std::string all;
    for (const auto& [term, column] : columns) all += fact(term, values_of(source.cells, column));
    std::string text = facts(all);
    if (!source.config.empty())
        text += "<details><summary>The config, " + escape_html(source.config.string()) +
                "</summary>\n<pre>" + escape_html(printable_lines(read_file(source.config))) +
                "</pre></details>\n";
    return text.empty() ? ""
                        : section("machine", "Machine and builds",
                                  "<div class=\"card\">\n" + text + "</div>\n");
}

// --- plots and tables ---------------------------------------------------------------------------

std::string plots_section(const ReportSource& source, const ReportPlots& plots) {
    std::string text;
    if (!plots.problem.empty())
        text += "<p class=\"problem\">There are no plots: " + escape_html(plots.problem) +
                ". Then make the report again.</p>\n";
    if (!plots.drawn.empty()) {
        text += "<div class=\"plots\">\n";
        for (std::size_t i = 0; i < plots.drawn.size(); ++i) {
            const Plot& plot = plots.plots[i];
            text += "<figure class=\"card\" id=\"plot_" + plot.name +
                    "\">\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"" +
                    escape_html(plot.title) + "\">" + inline_svg(plot, plots.drawn[i]) +
                    "</div>\n<figcaption>" + escape_html(plot.caption) +
                    "</figcaption>\n</figure>\n";
        }
        text += "</div>\n";
    }
    if (!source.journal)
        text +=
            "<p class=\"note\">Warm-up curves and the timeline need the sweep's journal, which "
            "is not beside this CSV: " +
            escape_html((source.folder / "journal.jsonl").string()) + ".</p>\n";
    return section("plots", "Plots", text);
}

/// Whether a view shows more of these cells than the table of cells does.
bool says_something(View view, const Table& cells, const Table& rows) {
    if (view == View::cells) return true;
    if (view == View::warmup) {
        const auto varying = varying_axes(cells, all_rows_of(cells));
        return std::find(varying.begin(), varying.end(), "warmup_steps") != varying.end();
    }
    const std::vector<ShownColumn> known = shown_columns(View::cells, cells);
    for (const ShownColumn& column : shown_columns(view, rows)) {
        if (std::any_of(known.begin(), known.end(),
                        [&](const ShownColumn& one) { return one.column == column.column; }))
            continue;
        for (const std::size_t row : all_rows_of(rows))
            if (!is_empty(rows.at(row, column.column))) return true;
    }
    return false;
}

std::string tables_section(const Table& cells, std::optional<View> wanted) {
    std::string text;
    for (const auto& [view, name] : EnumNames<View>::value) {
        if (wanted && view != *wanted) continue;
        const Table rows = apply_view(cells, view);
        if (!wanted && !says_something(view, cells, rows)) continue;
        std::string heading(name);
        heading[0] = static_cast<char>(heading[0] - 'a' + 'A');
        text += "<h3 id=\"view_" + std::string(name) + "\">" + heading +
                "</h3>\n<div class=\"scroll table\" tabindex=\"0\" role=\"region\" "
                "aria-labelledby=\"view_" +
                std::string(name) + "\">\n" + to_html(rows, shown_columns(view, rows)) + "</div>\n";
    }
    return section("tables", "Tables", text);
}

// --- failed cells -------------------------------------------------------------------------------

/// The last lines of a file, or nothing where it cannot be read.
std::string end_of_file(const fs::path& file) {
    constexpr std::size_t most_bytes = 4096;
    constexpr int most_lines = 25;
    std::string text;
    try {
        text = read_file(file);
    } catch (const ResultsError&) {
        return {};
    }
    while (text.ends_with('\n')) text.pop_back();
    std::size_t from = text.size() > most_bytes ? text.size() - most_bytes : 0;
    std::size_t line = text.size();
    for (int lines = 0; lines < most_lines && line != std::string::npos && line > 0; ++lines)
        line = text.rfind('\n', line - 1);
    if (line != std::string::npos && line > 0) from = std::max(from, line + 1);
    return printable_lines(text.substr(from));
}

/// The log of a cell's last attempt that left one.
fs::path last_log(const fs::path& folder, const std::string& key) {
    fs::path last;
    int highest = 0;
    std::error_code none;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder / "cells" / key, none)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with("attempt-") || !name.ends_with(".log")) continue;
        int number = 0;
        std::from_chars(name.data() + std::string_view("attempt-").size(),
                        name.data() + name.size(), number);
        if (number > highest) {
            highest = number;
            last = entry.path();
        }
    }
    return last;
}

bool is_plain_key(const std::string& key) {
    return !key.empty() && key.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string bytes_at(const Table& cells, std::size_t row, std::string_view column) {
    const auto bytes = number_at(cells, row, column);
    return bytes ? format_bytes(static_cast<std::int64_t>(*bytes)) : std::string();
}

std::string failure_article(const ReportSource& source, const Table& cells, std::size_t row,
                            const std::vector<std::string>& axes) {
    const std::string key = text_at(cells, row, "key");
    const std::string status = text_at(cells, row, "status");
    const std::string message = text_at(cells, row, "message");
    std::string text = "<article class=\"card failure\" id=\"cell_" + escape_html(key) +
                       "\">\n<h3><span class=\"" + css_class(status) + "\">" + escape_html(status) +
                       "</span> " + escape_html(cell_label(cells, row, axes)) + "</h3>\n";
    if (!message.empty()) text += "<p class=\"message\">" + escape_html(message) + "</p>\n";
    text += facts(fact("Key", key) + fact("Phase", text_at(cells, row, "phase")) +
                  fact("Signal", text_at(cells, row, "signal")) +
                  fact("Exit code", text_at(cells, row, "exit_code")) +
                  fact("Attempts", text_at(cells, row, "attempts")) +
                  fact("Asked for", bytes_at(cells, row, "requested_bytes")) +
                  fact("Free then", bytes_at(cells, row, "free_bytes")) +
                  fact("What fits instead", text_at(cells, row, "fallback_key")) +
                  fact("Flags", text_at(cells, row, "flags")));
    std::string commands;
    if (const std::string script = text_at(cells, row, "repro"); !script.empty())
        commands += command_block("sh " + shell_quoted(script));
    if (!source.config.empty())
        commands += command_block("isosweep run " + shell_quoted(source.config.string()) +
                                  " --only " + shell_quoted(key));
    if (const std::string by_hand = text_at(cells, row, "command"); !by_hand.empty())
        commands += command_block(by_hand);
    if (!commands.empty()) text += "<p>Run it again, alone:</p>\n" + commands;
    const fs::path log = is_plain_key(key) ? last_log(source.folder, key) : fs::path();
    if (const std::string tail = log.empty() ? std::string() : end_of_file(log); !tail.empty())
        text += "<details open><summary>The end of its log, " + escape_html(log.string()) +
                "</summary>\n<pre class=\"log\" tabindex=\"0\">" + escape_html(tail) +
                "</pre></details>\n";
    return text + "</article>\n";
}

std::string failures_section(const ReportSource& source) {
    const Table cells = with_repro_scripts(source.cells, source.folder);
    std::vector<std::string> axes = {"model_size", "context_length", "batch_size", "pass_type"};
    for (const std::string& axis : varying_axes(cells, all_rows_of(cells)))
        if (std::find(axes.begin(), axes.end(), axis) == axes.end()) axes.push_back(axis);
    std::string text;
    int left_out = 0;
    for (const auto& [status, name] : EnumNames<Status>::value) {
        if (status == Status::ok) continue;
        for (const std::size_t row : all_rows_of(cells)) {
            if (text_at(cells, row, "status") != name) continue;
            if (status == Status::skipped || status == Status::not_run)
                ++left_out;
            else
                text += failure_article(source, cells, row, axes);
        }
    }
    if (text.empty() && left_out == 0)
        text = "<p>Every cell is ok.</p>\n";
    else if (left_out > 0)
        text +=
            "<p class=\"note\">Cells that were skipped or not reached are in the table of "
            "failures.</p>\n";
    return section("failures", "Failed cells", text);
}

}  // namespace

std::string html_report(const ReportSource& source, const ReportPlots& plots,
                        std::optional<View> view) {
    const std::map<Status, int> counts = count_statuses(source.cells);
    std::vector<std::string> parts;
    for (const auto& [status, count] : counts)
        parts.push_back(std::to_string(count) + " " + std::string(to_name(status)));
    const std::string name = escape_html(one_line(source.subject.stem().string(), 100));
    const std::string gpus = values_of(source.cells, "gpu");
    const std::string sections = summary_section(source, counts) + machine_section(source) +
                                 plots_section(source, plots) + tables_section(source.cells, view) +
                                 failures_section(source);
    std::string links;
    for (const auto& [id, heading] :
         {std::pair("summary", "Summary"), std::pair("machine", "Machine"),
          std::pair("plots", "Plots"), std::pair("tables", "Tables"),
          std::pair("failures", "Failed cells")})
        if (sections.find("<section id=\"" + std::string(id) + "\">") != std::string::npos)
            links += "<li><a href=\"#" + std::string(id) + "\">" + heading + "</a></li>";
    // The policy lets nothing in from outside, whatever a text of a worker may try.
    return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
           "'unsafe-inline'; script-src 'unsafe-inline'\">\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
           "<title>" +
           name + ": report of a sweep</title>\n<style>\n" + std::string(html_report_style) +
           plot_style() + "\n</style>\n</head>\n<body>\n<header>\n<h1>" + name +
           "</h1>\n<p class=\"lead\">" + std::to_string(source.cells.row_count()) +
           " cells: " + escape_html(join(parts, ", ")) +
           (gpus.empty() ? "" : " on " + escape_html(gpus)) +
           "</p>\n<nav aria-label=\"Sections\"><ul>" + links + "</ul></nav>\n</header>\n<main>\n" +
           sections + "</main>\n<footer>Made from " + escape_html(source.subject.string()) +
           " by isosweep " + escape_html(build_id()) + " at " +
           readable_time(format_utc(unix_now_ms())) + ".</footer>\n<script>\n" +
           std::string(html_report_script) + "</script>\n</body>\n</html>\n";
}

}  // namespace isosweep
