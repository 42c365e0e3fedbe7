#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/printers.h"
#include "orchestrator/table.h"

/// What views are put together from: reading a table of cells, from a journal or from a CSV.
namespace isosweep {

std::optional<double> number_at(const Table& table, std::size_t row, std::string_view column);
std::string text_at(const Table& table, std::size_t row, std::string_view column);

/// The columns that say what was measured, but `left_out`: a cell's fields without its dimensions,
/// and custom axes, which a CSV has between `replicate` and the figures.
std::vector<std::string> axis_columns(const Table& cells,
                                      const std::vector<std::string_view>& left_out = {});

/// These columns of a row as one text: with `axis_columns`, the same for cells that differ in what
/// is left out alone.
std::string texts_at(const Table& table, std::size_t row, const std::vector<std::string>& columns);

/// The axes that a person is shown: what names a cell, and of the others but `left_out` those that
/// are not the same in all rows.
std::vector<ShownColumn> shown_axes(const Table& cells, std::string_view left_out = {});

/// A table without rows that has the columns of another.
Table without_rows(const Table& table);

/// Adds a row of another table to this one.
void copy_row(Table& to, const Table& from, std::size_t row);

}  // namespace isosweep
