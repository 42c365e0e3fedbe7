#include "orchestrator/printers.h"

#include <isosweep/text.h>

#include <algorithm>
#include <array>

#include "orchestrator/html.h"

namespace isosweep {
namespace {

constexpr double gibibyte = 1024.0 * 1024 * 1024;

/// A column of what is shown, as text.
struct SheetColumn {
    std::string column;  ///< of the table
    std::string heading;
    std::vector<std::string> texts;  ///< one a row
    bool is_numeric = true;
};

using Sheet = std::vector<SheetColumn>;

bool has_fraction(const Value& value) {
    if (const auto* text = std::get_if<std::string>(&value))
        return text->find_first_of(".e") != std::string::npos;
    return std::holds_alternative<double>(value);
}

std::string shown_text(const Value& value, const ShownColumn& column, bool is_rounded) {
    const auto number = number_of(value);
    if (number && column.as == ShowAs::gibibytes)
        return format_fixed(*number / gibibyte, column.decimals);
    if (number && is_rounded) return format_fixed(*number, column.decimals);
    return one_line(exact_text(value), column.as == ShowAs::text ? 500 : 80);
}

SheetColumn make_column(const Table& table, const ShownColumn& shown) {
    SheetColumn column;
    column.column = shown.column;
    column.heading = one_line(shown.heading);
    bool has_fractions = false;
    for (std::size_t row = 0; row < table.row_count(); ++row) {
        const Value& value = table.at(row, shown.column);
        if (is_empty(value)) continue;
        column.is_numeric = column.is_numeric && shown.as != ShowAs::text && number_of(value);
        has_fractions = has_fractions || has_fraction(value);
    }
    const bool is_rounded = column.is_numeric && has_fractions && shown.as == ShowAs::rounded;
    for (std::size_t row = 0; row < table.row_count(); ++row)
        column.texts.push_back(shown_text(table.at(row, shown.column), shown, is_rounded));
    return column;
}

Sheet make_sheet(const Table& table, const std::vector<ShownColumn>& shown) {
    Sheet sheet;
    for (const ShownColumn& column : shown) {
        SheetColumn made = make_column(table, column);
        const bool is_blank = std::all_of(made.texts.begin(), made.texts.end(),
                                          [](const std::string& text) { return text.empty(); });
        if (!is_blank || table.row_count() == 0) sheet.push_back(std::move(made));
    }
    return sheet;
}

/// The same sheet with every text and heading put through `escape`.
Sheet escaped(Sheet sheet, std::string (*escape)(const std::string&)) {
    for (SheetColumn& column : sheet) {
        column.heading = escape(column.heading);
        for (std::string& text : column.texts) text = escape(text);
    }
    return sheet;
}

/// The code point that begins at `at`, in a text that is UTF-8; `at` moves behind it.
char32_t next_code_point(const std::string& text, std::size_t& at) {
    const auto first = static_cast<unsigned char>(text[at++]);
    char32_t point = first < 0x80 ? first : first < 0xE0 ? first & 0x1F : first & 0x0F;
    if (first >= 0xF0) point = first & 0x07;
    for (; at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; ++at)
        point = point << 6 | (static_cast<unsigned char>(text[at]) & 0x3F);
    return point;
}

/// Columns that a text takes in a terminal: East Asian wide characters and pictures two, marks that
/// join the character before them none (the large ranges of Unicode's EastAsianWidth.txt).
std::size_t width_of(const std::string& text) {
    using Range = std::pair<char32_t, char32_t>;
    constexpr std::array<Range, 4> none = {
        {{0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}}};
    constexpr std::array<Range, 8> twice = {{{0x1100, 0x115F},
                                             {0x2E80, 0xA4CF},
                                             {0xAC00, 0xD7A3},
                                             {0xF900, 0xFAFF},
                                             {0xFE30, 0xFE6F},
                                             {0xFF00, 0xFF60},
                                             {0x1F300, 0x1FAFF},
                                             {0x20000, 0x3FFFD}}};
    std::size_t width = 0;
    for (std::size_t at = 0; at < text.size();) {
        const char32_t point = next_code_point(text, at);
        const auto holds = [point](const Range& range) {
            return range.first <= point && point <= range.second;
        };
        if (std::any_of(none.begin(), none.end(), holds)) continue;
        width += std::any_of(twice.begin(), twice.end(), holds) ? 2 : 1;
    }
    return width;
}

std::size_t width_of(const SheetColumn& column) {
    std::size_t width = width_of(column.heading);
    for (const std::string& text : column.texts) width = std::max(width, width_of(text));
    return width;
}

std::string padded(const std::string& text, std::size_t width, bool right) {
    const std::string blanks(width - width_of(text), ' ');
    return right ? blanks + text : text + blanks;
}

/// The same sheet with every column as wide as its widest text.
Sheet aligned(Sheet sheet) {
    for (SheetColumn& column : sheet) {
        const std::size_t width = width_of(column);
        column.heading = padded(column.heading, width, column.is_numeric);
        for (std::string& text : column.texts) text = padded(text, width, column.is_numeric);
    }
    return sheet;
}

/// The headings, and the texts of a row.
std::vector<std::string> headings_of(const Sheet& sheet) {
    std::vector<std::string> texts;
    for (const SheetColumn& column : sheet) texts.push_back(column.heading);
    return texts;
}
std::vector<std::string> texts_of(const Sheet& sheet, std::size_t row) {
    std::vector<std::string> texts;
    for (const SheetColumn& column : sheet) texts.push_back(column.texts[row]);
    return texts;
}

std::string without_blanks_at_end(std::string line) {
    line.resize(line.find_last_not_of(' ') + 1);
    return line;
}

bool is_letter_or_digit(char c) {
    return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9');
}

/// Markup is escaped where it would be one: not in every `oom_gpu`, so that the source stays
/// legible.
std::string escape_markdown(const std::string& text) {
    std::string escaped;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool follows_word = i > 0 && is_letter_or_digit(text[i - 1]);
        const bool precedes_word = i + 1 < text.size() && is_letter_or_digit(text[i + 1]);
        const bool is_markup =
            std::string_view("\\|<*`[~").find(text[i]) != std::string_view::npos ||
            (text[i] == '_' && !(follows_word && precedes_word)) ||
            (text[i] == '&' && (precedes_word || text.substr(i + 1, 1) == "#"));
        if (is_markup) escaped += '\\';
        escaped += text[i];
    }
    return escaped;
}

std::string escape_latex(const std::string& text) {
    std::string escaped;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        switch (c) {
            case '&':
            case '%':
            case '$':
            case '#':
            case '_':
            case '{':
            case '}':
                escaped += '\\';
                escaped += c;
                break;
            case '\\':
                escaped += "\\textbackslash{}";
                break;
            case '~':
                escaped += "\\textasciitilde{}";
                break;
            case '^':
                escaped += "\\textasciicircum{}";
                break;
            case '<':
                escaped += "\\textless{}";
                break;
            case '>':
                escaped += "\\textgreater{}";
                break;
            case '|':
                escaped += "\\textbar{}";
                break;
            case '-':  // two in a row would be a dash, and a line could end between them
                if (text.substr(i, 2) == "--") {
                    escaped += "\\mbox{-{}-}";
                    ++i;
                } else {
                    escaped += c;
                }
                break;
            case '[':  // behind the end of a row these two would be an argument of it
                escaped += "{[}";
                break;
            case '*':
                escaped += "{*}";
                break;
            default:
                escaped += c;
        }
    }
    return escaped;
}

/// A Typst string, which is taken as it is where content is expected.
std::string quote_typst(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') quoted += '\\';
        quoted += c;
    }
    return quoted + "\"";
}

/// The longest text that LaTeX is to keep on one line.
constexpr std::size_t longest_latex_line = 40;

/// Letters for LaTeX's columns: `l`, `r`, and paragraphs for what is long.
std::string latex_columns(const Sheet& sheet) {
    std::string columns;
    for (const SheetColumn& column : sheet)
        columns += width_of(column) > longest_latex_line ? "p{20em}"
                   : column.is_numeric                   ? "r"
                                                         : "l";
    return columns;
}

/// Whether a sheet is wider than a line of an article, at 5 pt a digit and 12 pt between columns.
bool is_wide_in_latex(const Sheet& sheet) {
    constexpr std::size_t line = 345;
    std::size_t width = 0;
    for (const SheetColumn& column : sheet)
        width += 12 + 5 * std::min(width_of(column), longest_latex_line);
    return width > line;
}

}  // namespace

std::string to_text(const Table& table, const std::vector<ShownColumn>& shown) {
    const Sheet sheet = aligned(make_sheet(table, shown));
    std::vector<std::string> rules;
    for (const SheetColumn& column : sheet) rules.emplace_back(width_of(column), '-');
    std::string text =
        without_blanks_at_end(join(headings_of(sheet), "  ")) + "\n" + join(rules, "  ") + "\n";
    for (std::size_t row = 0; row < table.row_count(); ++row)
        text += without_blanks_at_end(join(texts_of(sheet, row), "  ")) + "\n";
    return text;
}

std::string to_markdown(const Table& table, const std::vector<ShownColumn>& shown) {
    const Sheet sheet = aligned(escaped(make_sheet(table, shown), escape_markdown));
    std::string text = "| " + join(headings_of(sheet), " | ") + " |\n";
    for (const SheetColumn& column : sheet)
        text += "|" + std::string(width_of(column) + 1, '-') + (column.is_numeric ? ":" : "-");
    text += "|\n";
    for (std::size_t row = 0; row < table.row_count(); ++row)
        text += "| " + join(texts_of(sheet, row), " | ") + " |\n";
    return text;
}

std::string to_latex(const Table& table, const std::vector<ShownColumn>& shown) {
    const Sheet plain = make_sheet(table, shown);
    const Sheet sheet = escaped(plain, escape_latex);
    const bool is_wide = is_wide_in_latex(plain);
    std::string text = is_wide ? "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"
                               : "% needs \\usepackage{booktabs}\n";
    text += "\\begin{table}\n  \\centering\n";
    if (is_wide) text += "  \\resizebox{\\linewidth}{!}{%\n";
    text += "  \\begin{tabular}{" + latex_columns(plain) + "}\n    \\toprule\n    " +
            join(headings_of(sheet), " & ") + " \\\\\n    \\midrule\n";
    for (std::size_t row = 0; row < table.row_count(); ++row)
        text += "    " + join(texts_of(sheet, row), " & ") + " \\\\\n";
    text += "    \\bottomrule\n  \\end{tabular}";
    return text + (is_wide ? "}\n" : "\n") + "\\end{table}\n";
}

std::string to_typst(const Table& table, const std::vector<ShownColumn>& shown) {
    const Sheet sheet = escaped(make_sheet(table, shown), quote_typst);
    std::string alignments;
    for (const SheetColumn& column : sheet) alignments += column.is_numeric ? "right, " : "left, ";
    std::string text = "#table(\n  columns: " + std::to_string(sheet.size()) + ",\n  align: (" +
                       alignments + "),\n  stroke: none,\n  table.hline(),\n  table.header(" +
                       join(headings_of(sheet), ", ") + "),\n  table.hline(stroke: 0.5pt),\n";
    for (std::size_t row = 0; row < table.row_count(); ++row)
        text += "  " + join(texts_of(sheet, row), ", ") + ",\n";
    return text + "  table.hline(),\n)\n";
}

std::string to_html(const Table& table, const std::vector<ShownColumn>& shown) {
    const Sheet sheet = escaped(make_sheet(table, shown), escape_html);
    std::string text = "<table>\n<thead>\n<tr>";
    for (const SheetColumn& column : sheet)
        text += (column.is_numeric ? "<th scope=\"col\" class=\"num\">" : "<th scope=\"col\">") +
                column.heading + "</th>";
    text += "</tr>\n</thead>\n<tbody>\n";
    for (std::size_t row = 0; row < table.row_count(); ++row) {
        text += "<tr>";
        for (const SheetColumn& column : sheet) {
            const std::string exact = exact_text(table.at(row, column.column));
            text += "<td";
            if (column.is_numeric) text += " class=\"num\"";
            if (column.is_numeric && !exact.empty()) text += " data-sort=\"" + exact + "\"";
            text += ">" + column.texts[row] + "</td>";
        }
        text += "</tr>\n";
    }
    return text + "</tbody>\n</table>\n";
}

}  // namespace isosweep
