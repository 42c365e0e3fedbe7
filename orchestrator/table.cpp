#include "orchestrator/table.h"

#include <isosweep/text.h>

#include <algorithm>
#include <charconv>

namespace isosweep {
namespace {

/// A value for a person: doubles with few decimals, texts on one line. Values read from a CSV are
/// texts; those that are numbers with a fraction are shown as such.
std::string shown_text(const Value& value, int decimals) {
    struct Visitor {
        int decimals;
        std::string operator()(std::monostate) const { return {}; }
        std::string operator()(std::int64_t number) const { return std::to_string(number); }
        std::string operator()(double number) const { return format_fixed(number, decimals); }
        std::string operator()(const std::string& text) const {
            double number = 0;
            const char* const end = text.data() + text.size();
            const auto [stop, problem] = std::from_chars(text.data(), end, number);
            const bool is_fraction =
                problem == std::errc{} && stop == end && text.find_first_of(".e") != text.npos;
            return is_fraction ? format_fixed(number, decimals) : one_line(text, 80);
        }
    };
    return std::visit(Visitor{decimals}, value);
}

bool is_number(const std::string& text) {
    return !text.empty() && text.find_first_not_of("0123456789.-+e") == std::string::npos;
}

/// Characters of a text, for alignment.
std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    }));
}

/// What is shown, as text: the first line holds the headings.
struct Sheet {
    std::vector<std::vector<std::string>> lines;
    std::vector<std::size_t> widths;
    std::vector<bool> right;  ///< columns of numbers
};

Sheet make_sheet(const Table& table, const std::vector<ShownColumn>& shown) {
    Sheet sheet;
    sheet.lines.resize(table.row_count() + 1);
    for (const ShownColumn& column : shown) {
        std::vector<std::string> texts = {column.heading};
        bool any = false;
        bool numbers = true;
        for (std::size_t row = 0; row < table.row_count(); ++row) {
            texts.push_back(shown_text(table.at(row, column.column), column.decimals));
            any = any || !texts.back().empty();
            numbers = numbers && (texts.back().empty() || is_number(texts.back()));
        }
        if (!any) continue;
        std::size_t width = 0;
        for (std::size_t line = 0; line < texts.size(); ++line) {
            width = std::max(width, width_of(texts[line]));
            sheet.lines[line].push_back(std::move(texts[line]));
        }
        sheet.widths.push_back(width);
        sheet.right.push_back(numbers);
    }
    return sheet;
}

std::string padded(const std::string& text, std::size_t width, bool right) {
    const std::string blanks(width - width_of(text), ' ');
    return right ? blanks + text : text + blanks;
}

}  // namespace

bool is_empty(const Value& value) {
    const auto* text = std::get_if<std::string>(&value);
    return std::holds_alternative<std::monostate>(value) || (text && text->empty());
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

std::string to_text(const Table& table, const std::vector<ShownColumn>& shown) {
    const Sheet sheet = make_sheet(table, shown);
    std::string text;
    for (std::size_t line = 0; line < sheet.lines.size(); ++line) {
        std::string out;
        for (std::size_t i = 0; i < sheet.widths.size(); ++i)
            out +=
                (i > 0 ? "  " : "") + padded(sheet.lines[line][i], sheet.widths[i], sheet.right[i]);
        out.resize(out.find_last_not_of(' ') + 1);
        text += out + "\n";
        if (line == 0) {
            for (std::size_t i = 0; i < sheet.widths.size(); ++i)
                text += (i > 0 ? "  " : "") + std::string(sheet.widths[i], '-');
            text += '\n';
        }
    }
    return text;
}

std::string to_markdown(const Table& table, const std::vector<ShownColumn>& shown) {
    const Sheet sheet = make_sheet(table, shown);
    std::string text;
    for (std::size_t line = 0; line < sheet.lines.size(); ++line) {
        for (std::size_t i = 0; i < sheet.widths.size(); ++i) {
            std::string cell;
            for (const char c : sheet.lines[line][i]) cell += c == '|' ? "\\|" : std::string(1, c);
            const std::size_t width = sheet.widths[i];
            text +=
                "| " + (width_of(cell) < width ? padded(cell, width, sheet.right[i]) : cell) + " ";
        }
        text += "|\n";
        if (line == 0) {
            for (std::size_t i = 0; i < sheet.widths.size(); ++i)
                text += "|" + std::string(sheet.widths[i] + 1, '-') + (sheet.right[i] ? ":" : "-");
            text += "|\n";
        }
    }
    return text;
}

}  // namespace isosweep
