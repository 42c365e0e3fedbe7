#include "orchestrator/table.h"

#include <doctest/doctest.h>

#include <cmath>

#include "orchestrator/errors.h"
#include "temp_folder.h"

using namespace isosweep;
using isosweep::tests::TempFolder;

namespace {

Table sample() {
    Table table;
    table.add_row();
    table.set("size", std::string("small"));
    table.set("ms", 12.3456);
    table.set("bytes", std::int64_t{1024});
    table.add_row();
    table.set("size", std::string("2.7B"));
    table.set("error", std::string("said \"no\", and\nleft | gone"));
    return table;
}

}  // namespace

TEST_CASE("a table as CSV quotes what needs it and leaves absent values empty") {
    CHECK(to_csv(sample()) == R"(size,ms,bytes,error
small,12.3456,1024,
2.7B,,,"said ""no"", and
left | gone"
)");
}

TEST_CASE("a CSV reads back as it was written") {
    const TempFolder folder;
    Table table = sample();
    table.add_row();
    table.set("ms", 1.0 / 3);
    table.set("size", std::string(" blanks "));
    tests::write_file(folder / "a.csv", to_csv(table));
    const Table back = read_csv((folder / "a.csv").string());
    CHECK(back.columns() == table.columns());
    REQUIRE(back.row_count() == 3);
    CHECK(to_csv(back) == to_csv(table));
    CHECK(std::get<std::string>(back.at(2, "ms")) == "0.3333333333333333");
}

TEST_CASE("a number is a number from a journal and from a CSV") {
    CHECK(number_of(std::int64_t{7}) == 7);
    CHECK(number_of(0.5) == 0.5);
    CHECK(number_of(std::string("-1.5e3")) == -1500);
    for (const char* text : {"", "7 ms", "auto", "nan", "inf", "1e999"})
        CHECK_FALSE(number_of(std::string(text)));
    CHECK_FALSE(number_of({}));
    CHECK_FALSE(number_of(std::nan("")));
}

TEST_CASE("a CSV with rows of another length is refused, not shortened") {
    const TempFolder folder;
    const auto problem = [&](const std::string& text) -> std::string {
        tests::write_file(folder / "a.csv", text);
        try {
            read_csv((folder / "a.csv").string());
        } catch (const UsageError& error) {
            return error.what();
        }
        return {};
    };
    CHECK(problem("a,b\n1,2\n3\n").find("not a CSV of ours: ") != std::string::npos);
    CHECK(problem("a,a\n1,2\n").find("two columns are called 'a'") != std::string::npos);
    CHECK(problem("").find("the CSV is empty") != std::string::npos);
    CHECK_THROWS_AS(read_csv((folder / "none.csv").string()), UsageError);
}
