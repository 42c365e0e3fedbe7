#include "orchestrator/printers.h"

#include <doctest/doctest.h>

using namespace isosweep;

namespace {

/// Numbers and a text with characters that mean something in one format or the other.
Table sample() {
    Table table;
    table.add_row();
    table.set("size", std::string("small"));
    table.set("ms", 12.3456);
    table.set("bytes", std::int64_t{1610612736});
    table.set("rate", 0.25);
    table.add_row();
    table.set("size", std::string("2.7B"));
    table.set("error", std::string("said \"no\" & <left>\n50% | #1 --x_y [0]"));
    return table;
}

const std::vector<ShownColumn> shown = {{"size", "size"},
                                        {"ms", "mean ms", 2},
                                        {"bytes", "GiB", 3, ShowAs::gibibytes},
                                        {"rate", "rate", 3, ShowAs::exact},
                                        {"none", "none"},
                                        {"error", "error"}};

/// A table with one column of these values.
Table column_of(std::initializer_list<Value> values) {
    Table table;
    for (const Value& value : values) {
        table.add_row();
        table.set("x", value);
    }
    return table;
}

}  // namespace

TEST_CASE("a table as aligned text") {
    CHECK(to_text(sample(), shown) ==
          R"(size   mean ms    GiB  rate  error
-----  -------  -----  ----  -------------------------------------
small    12.35  1.500  0.25
2.7B                         said "no" & <left> 50% | #1 --x_y [0]
)");
}

TEST_CASE("a table as Markdown") {
    CHECK(to_markdown(sample(), shown) ==
          R"(| size  | mean ms |   GiB | rate | error                                    |
|-------|--------:|------:|-----:|------------------------------------------|
| small |   12.35 | 1.500 | 0.25 |                                          |
| 2.7B  |         |       |      | said "no" & \<left> 50% \| #1 --x_y \[0] |
)");
}

TEST_CASE("a table as LaTeX") {
    CHECK(to_latex(sample(), shown) ==
          R"(% needs \usepackage{booktabs} and \usepackage{graphicx}
\begin{table}
  \centering
  \resizebox{\linewidth}{!}{%
  \begin{tabular}{lrrrl}
    \toprule
    size & mean ms & GiB & rate & error \\
    \midrule
    small & 12.35 & 1.500 & 0.25 &  \\
    2.7B &  &  &  & said "no" \& \textless{}left\textgreater{} 50\% \textbar{} \#1 \mbox{-{}-}x\_y {[}0] \\
    \bottomrule
  \end{tabular}}
\end{table}
)");
    CHECK(to_latex(sample(), {{"size", "size"}, {"ms", "mean ms"}}) ==
          R"(% needs \usepackage{booktabs}
\begin{table}
  \centering
  \begin{tabular}{lr}
    \toprule
    size & mean ms \\
    \midrule
    small & 12.346 \\
    2.7B &  \\
    \bottomrule
  \end{tabular}
\end{table}
)");
}

TEST_CASE("a table as Typst") {
    CHECK(to_typst(sample(), shown) ==
          R"(#table(
  columns: 5,
  align: (left, right, right, right, left, ),
  stroke: none,
  table.hline(),
  table.header("size", "mean ms", "GiB", "rate", "error"),
  table.hline(stroke: 0.5pt),
  "small", "12.35", "1.500", "0.25", "",
  "2.7B", "", "", "", "said \"no\" & <left> 50% | #1 --x_y [0]",
  table.hline(),
)
)");
}

TEST_CASE("a table as HTML has exact values to sort by") {
    CHECK(to_html(sample(), shown) ==
          R"(<table>
<thead>
<tr><th scope="col">size</th><th scope="col" class="num">mean ms</th><th scope="col" class="num">GiB</th><th scope="col" class="num">rate</th><th scope="col">error</th></tr>
</thead>
<tbody>
<tr><td>small</td><td class="num" data-sort="12.3456">12.35</td><td class="num" data-sort="1610612736">1.500</td><td class="num" data-sort="0.25">0.25</td><td></td></tr>
<tr><td>2.7B</td><td class="num"></td><td class="num"></td><td class="num"></td><td>said &quot;no&quot; &amp; &lt;left&gt; 50% | #1 --x_y [0]</td></tr>
</tbody>
</table>
)");
}

TEST_CASE("a column from a CSV is shown as one from a journal") {
    const std::vector<ShownColumn> one = {{"x", "x"}};
    CHECK(to_text(column_of({4.0, 1.5}), one) == "    x\n-----\n4.000\n1.500\n");
    CHECK(to_text(column_of({std::string("4"), std::string("1.5")}), one) ==
          "    x\n-----\n4.000\n1.500\n");
    CHECK(to_text(column_of({std::string("4"), std::string("auto")}), one) == "x\n----\n4\nauto\n");
    CHECK(to_text(column_of({std::string("nan"), std::int64_t{7}}), one) == "x\n---\nnan\n7\n");
}

TEST_CASE("a key that could be a number stays what it is") {
    CHECK(to_text(column_of({std::string("12345678901234e1")}), {{"x", "key", 3, ShowAs::text}}) ==
          "key\n----------------\n12345678901234e1\n");
}

TEST_CASE("aligned text counts what a terminal shows, not bytes") {
    const std::vector<ShownColumn> two = {{"x", "größe"}, {"y", "y"}};
    Table table;
    for (const char* text : {"é", "e\xCC\x81", "模型", "\xF0\x9F\x9A\x80", "\xFF"}) {
        table.add_row();
        table.set("x", std::string(text));
        table.set("y", std::string("|"));
    }
    CHECK(to_text(table, two) ==
          "größe  y\n"
          "-----  -\n"
          "é      |\n"
          "e\xCC\x81      |\n"
          "模型   |\n"
          "\xF0\x9F\x9A\x80     |\n"
          "?      |\n");
}

TEST_CASE("Markdown escapes what would be markup, and nothing else") {
    const auto shown_as = [](const std::string& text) {
        const std::string table = to_markdown(column_of({text}), {{"x", ""}});
        const std::string last = table.substr(table.rfind("\n|") + 3);
        return last.substr(0, last.find_last_of('|') - 1);
    };
    CHECK(shown_as("oom_gpu a-b 3 < 4") == "oom_gpu a-b 3 \\< 4");
    CHECK(shown_as("__init__ *x* `y` a|b \\| [z] &amp; &#60; a & b") ==
          "\\_\\_init\\_\\_ \\*x\\* \\`y\\` a\\|b \\\\\\| \\[z] \\&amp; \\&#60; a & b");
}

TEST_CASE("LaTeX does not take a row's first characters for an argument of the row before") {
    const std::string table =
        to_latex(column_of({std::string("[2] ^~\\"), std::string("*{}$")}), {{"x", "x"}});
    CHECK(table.find("    {[}2] \\textasciicircum{}\\textasciitilde{}\\textbackslash{} \\\\\n"
                     "    {*}\\{\\}\\$ \\\\\n") != std::string::npos);
}

TEST_CASE("LaTeX breaks long texts into lines") {
    const std::string table = to_latex(column_of({std::string(41, 'a')}), {{"x", "x"}, {"x", "y"}});
    CHECK(table.find("\\begin{tabular}{p{20em}p{20em}}") != std::string::npos);
}

TEST_CASE("a table without rows keeps its headings") {
    const std::vector<ShownColumn> two = {{"x", "a"}, {"y", "b"}};
    CHECK(to_text(Table{}, two) == "a  b\n-  -\n");
    CHECK(to_markdown(Table{}, two) == "| a | b |\n|--:|--:|\n");
    CHECK(to_html(Table{}, two) ==
          "<table>\n<thead>\n<tr><th scope=\"col\" class=\"num\">a</th>"
          "<th scope=\"col\" class=\"num\">b</th></tr>\n</thead>\n<tbody>\n</tbody>\n</table>\n");
}
