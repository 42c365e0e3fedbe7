#pragma once

#include <string>
#include <vector>

#include "orchestrator/table.h"

namespace isosweep {

/// How the values of a column are shown.
enum class ShowAs {
    rounded,    ///< where one has a fraction, all with so many decimals
    exact,      ///< numbers as they are, as what somebody chose
    gibibytes,  ///< bytes as GiB with so many decimals
    text,       ///< as it is and (almost) whole, even where it could be a number: a key, a command
};

/// A column as people see it.
struct ShownColumn {
    std::string column;  ///< of the table
    std::string heading;
    int decimals = 3;
    ShowAs as = ShowAs::rounded;
};

// Each prints these columns, numbers to the right, texts on one line. Columns without any value are
// left out, unless there are no rows.

/// As aligned text; what is wide in a terminal counts as two.
std::string to_text(const Table& table, const std::vector<ShownColumn>& shown);

/// As a Markdown table (GitHub's), in which no text is taken for markup.
std::string to_markdown(const Table& table, const std::vector<ShownColumn>& shown);

/// As a LaTeX `table`, shrunk to the line where it is wide; a comment in front of it names the
/// packages that it needs. UTF-8 stays as it is.
std::string to_latex(const Table& table, const std::vector<ShownColumn>& shown);

/// As a Typst `#table(...)`, which needs no package.
std::string to_typst(const Table& table, const std::vector<ShownColumn>& shown);

/// As an HTML `<table>`, to be put into a page. Cells of columns of numbers have the class "num"
/// and the exact value as `data-sort`.
std::string to_html(const Table& table, const std::vector<ShownColumn>& shown);

}  // namespace isosweep
