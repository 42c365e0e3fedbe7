#include "orchestrator/view_parts.h"

#include <isosweep/cell.h>
#include <isosweep/text.h>

#include <algorithm>

#include "orchestrator/columns.h"

namespace isosweep {
namespace {

bool varies(const Table& cells, const std::string& column) {
    for (std::size_t row = 1; row < cells.row_count(); ++row)
        if (text_at(cells, row, column) != text_at(cells, 0, column)) return true;
    return false;
}

}  // namespace

std::optional<double> number_at(const Table& table, std::size_t row, std::string_view column) {
    return number_of(table.at(row, column));
}

std::string text_at(const Table& table, std::size_t row, std::string_view column) {
    return exact_text(table.at(row, column));
}

std::vector<std::string> axis_columns(const Table& cells,
                                      const std::vector<std::string_view>& left_out) {
    std::vector<std::string> names;
    const Cell defaults;
    for_each_field(defaults, [&](const Field& field, const auto&) {
        if (field.kind != FieldKind::dimension) names.emplace_back(field.name);
    });
    bool behind_fields = false;
    for (const std::string& column : cells.columns()) {
        if (column == figure_columns.front()) break;
        if (behind_fields) names.push_back(column);
        behind_fields = behind_fields || column == "replicate";
    }
    std::erase_if(names, [&](const std::string& name) {
        return std::find(left_out.begin(), left_out.end(), name) != left_out.end();
    });
    return names;
}

std::string texts_at(const Table& table, std::size_t row, const std::vector<std::string>& columns) {
    std::string text;
    for (const std::string& column : columns) text += text_at(table, row, column) + "\n";
    return text;
}

std::vector<ShownColumn> shown_axes(const Table& cells, std::string_view left_out) {
    std::vector<ShownColumn> shown = {{"model_size", "size"},
                                      {"context_length", "context"},
                                      {"batch_size", "batch"},
                                      {"pass_type", "pass"}};
    for (const std::string& column :
         axis_columns(cells, {"model_size", "context_length", "batch_size", "pass_type", left_out}))
        if (varies(cells, column))
            shown.push_back({column, replace_all(column, '_', ' '), 0, ShowAs::exact});
    return shown;
}

Table without_rows(const Table& table) {
    Table empty;
    for (const std::string& column : table.columns()) empty.add_column(column);
    return empty;
}

void copy_row(Table& to, const Table& from, std::size_t row) {
    to.add_row();
    for (const std::string& column : from.columns()) to.set(column, from.at(row, column));
}

}  // namespace isosweep
