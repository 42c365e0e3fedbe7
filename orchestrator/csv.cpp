// The one unit that includes the CSV parser.
#include <isosweep/text.h>

#include <fstream>
#include <internal/csv_reader.hpp>
#include <internal/csv_writer.hpp>
#include <sstream>

#include "orchestrator/errors.h"
#include "orchestrator/table.h"

namespace isosweep {

std::string to_csv(const Table& table) {
    std::ostringstream stream;
    csv::make_csv_writer(stream) << table.columns();
    return stream.str() + rows_to_csv(table);
}

std::string rows_to_csv(const Table& table) {
    std::ostringstream stream;
    // The library's writer cuts doubles to five decimals: it gets texts only.
    auto writer = csv::make_csv_writer(stream);
    std::vector<std::string> fields(table.columns().size());
    for (std::size_t row = 0; row < table.row_count(); ++row) {
        for (std::size_t i = 0; i < fields.size(); ++i) fields[i] = exact_text(table.at(row, i));
        writer << fields;
    }
    return stream.str();
}

Table read_csv(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) throw UsageError(file + ": cannot read the CSV; is the path right?");
    Table table;
    try {
        csv::CSVFormat format;
        // By default rows of another length than the header are silently dropped.
        format.delimiter(',').header_row(0).variable_columns(csv::VariableColumnPolicy::THROW);
        format.threading(false);
        csv::CSVReader reader(stream, format);
        const std::vector<std::string> columns = reader.get_col_names();
        for (const std::string& column : columns) {
            if (table.has_column(column))
                throw UsageError(file + ": two columns are called '" + column + "'");
            table.add_column(column);
        }
        for (csv::CSVRow& row : reader) {
            table.add_row();
            for (std::size_t i = 0; i < columns.size(); ++i)
                table.set(columns[i], row[i].get<std::string>());
        }
    } catch (const UsageError&) {
        throw;
    } catch (const std::exception& problem) {
        throw UsageError(file + ": not a CSV of ours: " + one_line(problem.what()) + " (row " +
                         std::to_string(table.row_count() + 2) + ")");
    }
    if (table.columns().empty()) throw UsageError(file + ": the CSV is empty");
    return table;
}

}  // namespace isosweep
