#pragma once

#include <isosweep/text.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace isosweep {

/// A value of a table; std::monostate: there is none, which is never shown as 0.
using Value = std::variant<std::monostate, std::int64_t, double, std::string>;

/// Whether there is no value, or an empty text.
bool is_empty(const Value& value);

/// A value as text that reads back exactly; empty for none.
std::string exact_text(const Value& value);

/// A finite number; also from a text that is one, since a CSV has nothing but texts.
std::optional<double> number_of(const Value& value);

/// Columns and rows. A column is made on first use, so that a new figure needs one line in one
/// place.
class Table {
  public:
    /// Starts a further row, all empty.
    void add_row() { rows_.emplace_back(); }
    /// Sets a value of the last row.
    void set(std::string_view column, Value value);
    /// Makes a column without setting a value, which fixes its place.
    void add_column(std::string_view column) { make_column(column); }

    const std::vector<std::string>& columns() const { return columns_; }
    std::size_t row_count() const { return rows_.size(); }
    const Value& at(std::size_t row, std::string_view column) const;
    const Value& at(std::size_t row, std::size_t column) const;
    bool has_column(std::string_view column) const { return index_.contains(column); }

    /// The same rows with these columns first, in this order, made where missing.
    Table with_first(const std::vector<std::string>& first) const;

  private:
    std::size_t make_column(std::string_view column);

    std::vector<std::string> columns_;
    std::unordered_map<std::string, std::size_t, TextHash, std::equal_to<>> index_;
    std::vector<std::vector<Value>> rows_;  ///< a row may be shorter than `columns_`
};

/// All of the table as CSV (RFC 4180): integers and doubles exact, an absent value empty.
std::string to_csv(const Table& table);
/// Its rows without the header: further ones of a CSV with the same columns.
std::string rows_to_csv(const Table& table);

/// Reads a CSV with a header; every value is text. \throws UsageError naming the file and the row
Table read_csv(const std::string& file);

}  // namespace isosweep
