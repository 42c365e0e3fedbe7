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

std::size_t Table::make_column(std::string_view column) {
    if (const auto found = index_.find(column); found != index_.end()) return found->second;
    columns_.emplace_back(column);
    index_.emplace(column, columns_.size() - 1);
    return columns_.size() - 1;
}

void Table::set(std::string_view column, Value value) {
    const std::size_t index = make_column(column);
    std::vector<Value>& row = rows_.back();
    // All columns at once: growing by each would move the row again and again.
    if (row.size() <= index) row.resize(columns_.size());
    row[index] = std::move(value);
}

const Value& Table::at(std::size_t row, std::string_view column) const {
    static const Value none;
    const auto found = index_.find(column);
    return found == index_.end() ? none : at(row, found->second);
}

const Value& Table::at(std::size_t row, std::size_t column) const {
    static const Value none;
    return column < rows_[row].size() ? rows_[row][column] : none;
}

Table Table::with_first(const std::vector<std::string>& first) const {
    Table table;
    for (const std::string& column : first) table.add_column(column);
    std::vector<std::size_t> places;  // of our columns in the new table
    for (const std::string& column : columns_) places.push_back(table.make_column(column));
    table.rows_.reserve(rows_.size());
    for (const std::vector<Value>& from : rows_) {
        std::vector<Value>& row = table.rows_.emplace_back(table.columns_.size());
        for (std::size_t i = 0; i < from.size(); ++i) row[places[i]] = from[i];
    }
    return table;
}

}  // namespace isosweep
