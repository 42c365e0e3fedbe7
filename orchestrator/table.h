#pragma once

#include <cstdint>
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

/// Columns and rows. A column is made on first use, so that a new figure needs one line in one
/// place.
class Table {
  public:
    /// Starts a further row, all empty.
    void add_row() { rows_.emplace_back(); }
    /// Sets a value of the last row.
    void set(std::string_view column, Value value);
    /// Makes a column without setting a value, which fixes its place.
    void add_column(std::string_view column);

    const std::vector<std::string>& columns() const { return columns_; }
    std::size_t row_count() const { return rows_.size(); }
    const Value& at(std::size_t row, std::string_view column) const;
    bool has_column(std::string_view column) const { return index_.contains(std::string(column)); }

    /// The same rows with these columns first, in this order, made where missing.
    Table with_first(const std::vector<std::string>& first) const;

  private:
    std::vector<std::string> columns_;
    std::unordered_map<std::string, std::size_t> index_;
    std::vector<std::vector<Value>> rows_;  ///< a row may be shorter than `columns_`
};

/// A column as people see it.
struct ShownColumn {
    std::string column;  ///< of the table
    std::string heading;
    int decimals = 3;  ///< of doubles
};

/// All of the table as CSV (RFC 4180): integers and doubles exact, an absent value empty.
std::string to_csv(const Table& table);

/// Reads a CSV with a header; every value is text. \throws UsageError naming the file and the row
Table read_csv(const std::string& file);

/// These columns as aligned text, and as a Markdown table. Columns without any value are left out.
std::string to_text(const Table& table, const std::vector<ShownColumn>& shown);
std::string to_markdown(const Table& table, const std::vector<ShownColumn>& shown);

}  // namespace isosweep
