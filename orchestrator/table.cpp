#include "orchestrator/table.h"

#include <isosweep/text.h>

#include <charconv>
#include <cmath>

namespace isosweep {

bool is_empty(const Value& value) {
    const auto* text = std::get_if<std::string>(&value);
    return std::holds_alternative<std::monostate>(value) || (text && text->empty());
}

std::string exact_text(const Value& value) {
    struct Visitor {
        std::string operator()(std::monostate) const { return {}; }
        std::string operator()(std::int64_t number) const { return std::to_string(number); }
        std::string operator()(double number) const { return format_exact(number); }
        std::string operator()(const std::string& text) const { return text; }
    };
    return std::visit(Visitor{}, value);
}

std::optional<double> number_of(const Value& value) {
    if (const auto* integer = std::get_if<std::int64_t>(&value))
        return static_cast<double>(*integer);
    double number = 0;
    if (const auto* fraction = std::get_if<double>(&value)) {
        number = *fraction;
    } else if (const auto* text = std::get_if<std::string>(&value)) {
        const char* const end = text->data() + text->size();
        const auto [stop, problem] = std::from_chars(text->data(), end, number);
        if (problem != std::errc{} || stop != end) return std::nullopt;
    } else {
        return std::nullopt;
    }
    return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

void Table::add_column(std::string_view column) {
    if (index_.emplace(column, columns_.size()).second) columns_.emplace_back(column);
}

void Table::set(std::string_view column, Value value) {
    add_column(column);
    const std::size_t index = index_.at(std::string(column));
    std::vector<Value>& row = rows_.back();
    if (row.size() <= index) row.resize(index + 1);
    row[index] = std::move(value);
}

const Value& Table::at(std::size_t row, std::string_view column) const {
    static const Value none;
    const auto found = index_.find(std::string(column));
    if (found == index_.end() || found->second >= rows_[row].size()) return none;
    return rows_[row][found->second];
}

Table Table::with_first(const std::vector<std::string>& first) const {
    Table table;
    for (const std::string& column : first) table.add_column(column);
    for (const std::string& column : columns_) table.add_column(column);
    for (std::size_t row = 0; row < rows_.size(); ++row) {
        table.add_row();
        for (const std::string& column : columns_) table.set(column, at(row, column));
    }
    return table;
}

}  // namespace isosweep
