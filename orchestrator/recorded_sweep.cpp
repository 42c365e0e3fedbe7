#include "orchestrator/recorded_sweep.h"

#include <boost/json/array.hpp>

#include "orchestrator/columns.h"
#include "orchestrator/errors.h"
#include "orchestrator/fallback.h"
#include "orchestrator/options.h"
#include "orchestrator/view_parts.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

RecordedSweep read_by_config(const fs::path& config) {
    const Options options = read_options(config);
    const fs::path file = options.folder() / "journal.jsonl";
    if (!fs::exists(file))
        throw UsageError("there is no " + file.string() + ": run `isosweep run " + config.string() +
                         "` first, or name the CSV of a sweep");
    RecordedSweep sweep;
    sweep.journal = Journal::read(file);
    sweep.table =
        make_cells_table(with_fallbacks(make_plan(options.grid), *sweep.journal), *sweep.journal);
    return sweep;
}

RecordedSweep read_by_csv(const fs::path& csv) {
    RecordedSweep sweep;
    sweep.table = read_csv(csv.string());
    for (const char* column : {"model_size", "key", "status"})
        if (!sweep.table.has_column(column))
            throw UsageError(csv.string() + ": not a CSV of a sweep: it has no column " + column);
    const fs::path journal = fs::path(csv).replace_extension() / "journal.jsonl";
    if (!fs::exists(journal)) return sweep;
    sweep.journal = Journal::read(journal);
    sweep.table = make_cells_table(cells_of(sweep.table, csv.string()), *sweep.journal);
    return sweep;
}

fs::path csv_of(const fs::path& folder) {
    const fs::path named = folder.has_filename() ? folder : folder.parent_path();
    const fs::path csv = named.string() + ".csv";
    if (!fs::exists(csv))
        throw UsageError(folder.string() + ": a folder without the sweep's CSV beside it, " +
                         csv.string() + "; `isosweep run` makes it again, or name a config");
    return csv;
}

RecordedSweep read_any(const fs::path& subject) {
    if (fs::is_directory(subject)) return read_by_csv(csv_of(subject));
    return subject.extension() == ".csv" ? read_by_csv(subject) : read_by_config(subject);
}

}  // namespace

std::vector<PlannedCell> cells_of(const Table& table, const std::string& name) {
    std::vector<PlannedCell> cells;
    const std::vector<std::string> axes = axis_columns(table);
    for (std::size_t row = 0; row < table.row_count(); ++row) {
        PlannedCell planned;
        planned.key = text_at(table, row, "key");
        // What is no column, or empty, is at its default: the CSV of an earlier version.
        for_each_field(planned.cell, [&](const Field& field, auto& value) {
            const std::string text = text_at(table, row, field.name);
            if (text.empty()) return;
            try {
                parse_field(text, field, value);
            } catch (const BadValue& problem) {
                throw UsageError(name + ": row " + std::to_string(row + 2) + ": " +
                                 std::string(field.name) + " = '" + text + "': " + problem.what());
            }
        });
        for (const std::string& axis : axes)
            if (const std::string text = text_at(table, row, axis);
                !text.empty() && !is_own_column(axis))
                planned.cell.custom[axis] = custom_value(text);
        cells.push_back(std::move(planned));
    }
    return cells;
}

std::vector<double> samples_ms(const Journal& journal, const std::string& key) {
    const std::optional<EndedAttempt>& recorded = journal.history(key).recorded;
    if (!recorded || recorded->status != Status::ok) return {};
    const json::object measurement = journal.attempt(*recorded).outcome.measurement;
    std::vector<double> samples;
    if (const json::value* const values = measurement.if_contains("samples_ms"))
        for (const json::value& value : values->as_array())
            samples.push_back(value.to_number<double>());
    return samples;
}

RecordedSweep read_sweep(const fs::path& subject) {
    if (!fs::exists(subject))
        throw UsageError(subject.string() +
                         ": there is no such file or folder: expected the CSV of a sweep, its "
                         "config, or its folder");
    try {
        RecordedSweep sweep = read_any(subject);
        sweep.name = subject.string();
        sweep.cells = cells_of(sweep.table, sweep.name);
        if (sweep.cells.empty()) throw UsageError(sweep.name + ": the sweep has no cells");
        return sweep;
    } catch (const ResultsError& problem) {
        throw UsageError(problem.what());
    }
}

}  // namespace isosweep
