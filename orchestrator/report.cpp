#include "orchestrator/report.h"

#include <cstdio>

#include "orchestrator/cells_table.h"
#include "orchestrator/errors.h"
#include "orchestrator/failures.h"
#include "orchestrator/fallback.h"
#include "orchestrator/files.h"
#include "orchestrator/html_report.h"
#include "orchestrator/plan.h"
#include "orchestrator/plots.h"
#include "orchestrator/views.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// What a report is made of: the table of a sweep's cells, and its journal where there is one.
ReportSource read_source(const Command& command) {
    ReportSource source;
    source.subject = command.subject;
    source.config = command.options.config;
    source.folder = command.options.folder();
    const fs::path file = source.folder / "journal.jsonl";
    if (source.config.empty()) {
        source.cells = read_csv(command.subject.string());
        for (const char* column : {"model_size", "status", "mean_time_ms"})
            if (!source.cells.has_column(column))
                throw UsageError(command.subject.string() +
                                 ": not a CSV of a sweep: it has no column " + column);
        // A table can be printed without it.
        const bool is_needed = command.format == Format::html || !command.plots.empty();
        if (is_needed && fs::exists(file)) source.journal = Journal::read(file);
        return source;
    }
    if (!fs::exists(file))
        throw UsageError("there is no " + file.string() + ": run `isosweep run " +
                         source.config.string() + "` first");
    source.journal = Journal::read(file);
    source.cells = make_cells_table(
        with_fallbacks(make_plan(command.options.grid), *source.journal), *source.journal);
    return source;
}

ReportPlots draw_plots(const ReportSource& source, PlotFiles files) {
    ReportPlots plots;
    plots.plots = make_plots(source.cells, source.journal ? &*source.journal : nullptr);
    plots.drawn = draw(plots.plots, files);
    return plots;
}

/// For a page, which is worth something without plots, too.
ReportPlots draw_plots_if_possible(const ReportSource& source) {
    try {
        return draw_plots(source, PlotFiles::svg);
    } catch (const EnvironmentError& problem) {
        std::fprintf(stderr, "warning: the report has no plots: %s\n", problem.what());
        ReportPlots plots;
        plots.problem = problem.what();
        return plots;
    }
}

void save_plots(const ReportPlots& plots, const fs::path& folder) {
    make_folder(folder);
    std::size_t without_png = 0;
    for (std::size_t i = 0; i < plots.drawn.size(); ++i) {
        const std::string& name = plots.plots[i].name;
        write_atomically(folder / (name + ".svg"), plots.drawn[i].svg);
        if (plots.drawn[i].png.empty())
            ++without_png;
        else
            write_atomically(folder / (name + ".png"), plots.drawn[i].png);
    }
    std::fprintf(stderr, "written: %zu plot%s in %s\n", plots.drawn.size(),
                 plots.drawn.size() == 1 ? "" : "s", folder.string().c_str());
    if (without_png > 0)
        std::fprintf(stderr, "warning: this gnuplot has no terminal pngcairo: SVG only\n");
}

/// The table of a view.
std::string report_table(const Command& command, const ReportSource& source) {
    const View view = command.view.value_or(command.options.view);
    const Table table = apply_view(
        view == View::failures ? with_repro_scripts(source.cells, source.folder) : source.cells,
        view);
    if (table.row_count() == 0)
        std::fprintf(stderr, "no cell of %s belongs into the view %s\n",
                     command.subject.string().c_str(), std::string(to_name(view)).c_str());
    return printed(table, shown_columns(view, table), command.format.value_or(Format::text));
}

}  // namespace

std::string printed(const Table& table, const std::vector<ShownColumn>& shown, Format format) {
    switch (format) {
        case Format::text:
            return to_text(table, shown);
        case Format::markdown:
            return to_markdown(table, shown);
        case Format::latex:
            return to_latex(table, shown);
        case Format::typst:
            return to_typst(table, shown);
        case Format::html:
            return to_html(table, shown);
        case Format::csv:
            return to_csv(table);
    }
    return {};
}

std::optional<std::string> make_report(const Command& command) {
    const ReportSource source = read_source(command);
    const bool is_page = command.format == Format::html;
    ReportPlots plots;
    if (!command.plots.empty()) {
        plots = draw_plots(source, PlotFiles::svg_and_png);
        save_plots(plots, command.plots);
    } else if (is_page) {
        plots = draw_plots_if_possible(source);
    }
    if (is_page) return html_report(source, plots, command.view);
    const bool plots_are_all =
        !command.plots.empty() && !command.format && !command.view && command.report.empty();
    return plots_are_all ? std::nullopt : std::optional(report_table(command, source));
}

}  // namespace isosweep
