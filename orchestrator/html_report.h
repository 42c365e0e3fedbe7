#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/gnuplot.h"
#include "orchestrator/journal.h"
#include "orchestrator/options.h"
#include "orchestrator/table.h"

namespace isosweep {

/// A sweep as a report finds it.
struct ReportSource {
    std::filesystem::path subject;  ///< the config or the CSV that the command named
    std::filesystem::path config;   ///< empty where a CSV was named
    std::filesystem::path folder;   ///< the sweep's, with logs and scripts, where it is there
    Table cells;
    std::optional<Journal> journal;
};

/// The plots of a report, and why there are none.
struct ReportPlots {
    std::vector<Plot> plots;
    std::vector<DrawnPlot> drawn;  ///< one for each of `plots`, or none
    std::string problem;
};

/// A whole page that needs nothing but itself: summary, machine, plots, the table of every view
/// that has something to say (or just of `view`), every failed cell with its cause, its log's end
/// and how to run it again. Nothing in it that came from a config, a log or a worker is markup.
std::string html_report(const ReportSource& source, const ReportPlots& plots,
                        std::optional<View> view);

}  // namespace isosweep
