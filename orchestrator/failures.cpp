#include "orchestrator/failures.h"

#include <isosweep/outcome.h>
#include <isosweep/text.h>

#include <string>
#include <utility>

#include "orchestrator/view_parts.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// "crash in backward (SIGSEGV)", "error in build (exit code 3)", "not_run".
std::string cause_of(const Table& cells, std::size_t row) {
    std::string cause = text_at(cells, row, "status");
    if (const std::string phase = text_at(cells, row, "phase"); !phase.empty())
        cause += " in " + phase;
    if (const std::string signal = text_at(cells, row, "signal"); !signal.empty())
        cause += " (" + signal + ")";
    else if (const std::string code = text_at(cells, row, "exit_code"); !code.empty())
        cause += " (exit code " + code + ")";
    return cause;
}

/// Rows with the same cause.
struct Cause {
    std::string text;
    std::vector<std::size_t> rows;
};

/// The causes of one status, in the order of their first rows.
std::vector<Cause> causes_of(const Table& cells, std::string_view status) {
    std::vector<Cause> causes;
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        if (text_at(cells, row, "status") != status) continue;
        const std::string text = cause_of(cells, row);
        auto found = causes.begin();
        while (found != causes.end() && found->text != text) ++found;
        if (found == causes.end()) found = causes.insert(found, {text, {}});
        found->rows.push_back(row);
    }
    return causes;
}

bool has_value(const Table& table, std::string_view column) {
    for (std::size_t row = 0; row < table.row_count(); ++row)
        if (!is_empty(table.at(row, column))) return true;
    return false;
}

}  // namespace

Table failure_rows(const Table& cells) {
    Table table = without_rows(cells);
    for (const auto& [status, name] : EnumNames<Status>::value) {
        if (status == Status::ok) continue;
        for (const Cause& cause : causes_of(cells, name))
            for (const std::size_t row : cause.rows) {
                copy_row(table, cells, row);
                table.set("cause", cause.text);
                table.set("cause_cells", static_cast<std::int64_t>(cause.rows.size()));
            }
    }
    return table;
}

std::vector<ShownColumn> shown_failures(const Table& rows) {
    std::vector<ShownColumn> shown = {{"cause", "cause"}, {"cause_cells", "cells"}};
    const std::vector<ShownColumn> axes = shown_axes(rows);
    shown.insert(shown.end(), axes.begin(), axes.end());
    shown.insert(shown.end(), {{"attempts", "attempts"},
                               {"requested_bytes", "asked GiB", 3, ShowAs::gibibytes},
                               {"free_bytes", "free GiB", 3, ShowAs::gibibytes},
                               {"fallback_key", "what fits", 0, ShowAs::text},
                               {"witness", "witness", 0, ShowAs::text},
                               {"key", "key", 0, ShowAs::text},
                               {"message", "message"}});
    // The script runs the cell as the sweep did, so where there are scripts they are enough.
    if (has_value(rows, "repro"))
        shown.push_back({"repro", "runs it again", 0, ShowAs::text});
    else
        shown.push_back({"command", "runs it by hand", 0, ShowAs::text});
    return shown;
}

Table with_repro_scripts(const Table& cells, const fs::path& folder) {
    Table table = without_rows(cells);
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        copy_row(table, cells, row);
        const fs::path script = folder / "cells" / text_at(cells, row, "key") / "repro.sh";
        if (fs::exists(script)) table.set("repro", script.string());
    }
    return table;
}

}  // namespace isosweep
