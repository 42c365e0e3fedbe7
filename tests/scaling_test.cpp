#include "orchestrator/scaling.h"

#include <doctest/doctest.h>

#include <cmath>

#include "orchestrator/columns.h"
#include "orchestrator/views.h"

using namespace isosweep;

namespace {

std::vector<std::pair<double, double>> power_law(double factor, double exponent,
                                                 std::initializer_list<double> xs) {
    std::vector<std::pair<double, double>> points;
    for (const double x : xs) points.emplace_back(x, factor * std::pow(x, exponent));
    return points;
}

/// A table of cells as far as the view needs it.
struct Cells {
    void add(const std::string& size, std::int64_t parameters, std::int64_t context,
             std::int64_t batch, double time, std::int64_t replicate = 1) {
        table.add_row();
        table.set("model_size", size);
        table.set("num_params", parameters);
        table.set("context_length", context);
        table.set("batch_size", batch);
        table.set("replicate", replicate);
        table.add_column(figure_columns.front());  // behind it there are no axes
        table.set("median_time_ms", time > 0 ? Value(time) : Value());
    }
    Table scaling() const { return apply_view(table, View::scaling); }

    Table table;
};

std::vector<std::string> column(const Table& table, const std::string& name) {
    std::vector<std::string> texts;
    for (std::size_t row = 0; row < table.row_count(); ++row)
        texts.push_back(exact_text(table.at(row, name)));
    return texts;
}

double number(const Table& table, std::size_t row, const std::string& name) {
    return number_of(table.at(row, name)).value();
}

}  // namespace

TEST_CASE("the exponent of a power law is found exactly") {
    for (const double exponent : {-0.5, 0.0, 1.0, 2.0}) {
        const auto law = fit_power_law(power_law(0.003, exponent, {128, 256, 512, 1024}));
        REQUIRE(law);
        CHECK(law->exponent == doctest::Approx(exponent));
        CHECK(law->points == 4);
        CHECK(law->standard_error.value() < 1e-9);
    }
}

TEST_CASE("its standard error is that of a regression") {
    // ln y = 0, 1, 1 at ln x = 0, 1, 2: slope 0.5, residuals -1/6, 1/3, -1/6, s^2 = 1/6, Sxx = 2.
    const double e = std::exp(1.0);
    const std::vector<std::pair<double, double>> points = {{1, 1}, {e, e}, {e * e, e}};
    const auto law = fit_power_law(points);
    REQUIRE(law);
    CHECK(law->exponent == doctest::Approx(0.5));
    CHECK(law->standard_error.value() == doctest::Approx(std::sqrt(1.0 / 12)));
}

TEST_CASE("two points have an exponent and no error, one x has neither") {
    const auto law = fit_power_law(power_law(1, 2, {3, 6}));
    REQUIRE(law);
    CHECK(law->exponent == doctest::Approx(2));
    CHECK_FALSE(law->standard_error);
    CHECK_FALSE(fit_power_law(power_law(1, 2, {3, 3, 3})));
    CHECK_FALSE(fit_power_law(std::vector<std::pair<double, double>>{}));
}

TEST_CASE("a series holds the measured cells that differ in one axis alone") {
    Cells cells;
    cells.add("small", 100, 1024, 4, 40);  // later in its series, whatever the order of the plan
    cells.add("small", 100, 256, 4, 10);
    cells.add("small", 100, 512, 4, 20);
    cells.add("small", 100, 2048, 4, 0);  // has no time
    cells.add("large", 400, 512, 4, 80);
    cells.add("large", 400, 512, 8, 160);
    const Table table = cells.scaling();
    CHECK(column(table, "scaling_axis") ==
          std::vector<std::string>{"context_length", "context_length", "context_length",
                                   "num_params", "num_params", "batch_size", "batch_size"});
    CHECK(column(table, "scaling_series") ==
          std::vector<std::string>{"1", "1", "1", "2", "2", "3", "3"});
    CHECK(column(table, "context_length") ==
          std::vector<std::string>{"256", "512", "1024", "512", "512", "512", "512"});
    CHECK(column(table, "time_exponent_points") ==
          std::vector<std::string>{"3", "3", "3", "2", "2", "2", "2"});
    for (std::size_t row = 0; row < table.row_count(); ++row)
        CHECK(number(table, row, "time_exponent") == doctest::Approx(1));
    CHECK(number(table, 0, "time_exponent_se") < 1e-9);
    CHECK(is_empty(table.at(3, "time_exponent_se")));
}

TEST_CASE("the exponent between neighbours shows where a series bends") {
    Cells cells;
    cells.add("small", 100, 256, 4, 10);
    cells.add("small", 100, 512, 4, 10);
    cells.add("small", 100, 1024, 4, 40);
    const Table table = cells.scaling();
    CHECK(is_empty(table.at(0, "local_exponent")));
    CHECK(number(table, 1, "local_exponent") == doctest::Approx(0));
    CHECK(number(table, 2, "local_exponent") == doctest::Approx(2));
    CHECK(number(table, 0, "time_exponent") == doctest::Approx(1));
}

TEST_CASE("replicates are points of the same series") {
    Cells cells;
    for (const std::int64_t replicate : {1, 2}) {
        const double factor = replicate == 1 ? 0.5 : 2;
        cells.add("small", 100, 256, 4, 10 * factor, replicate);
        cells.add("small", 100, 512, 4, 20 * factor, replicate);
    }
    const Table table = cells.scaling();
    REQUIRE(table.row_count() == 4);
    CHECK(column(table, "scaling_series") == std::vector<std::string>{"1", "1", "1", "1"});
    CHECK(number(table, 0, "time_exponent") == doctest::Approx(1));
    CHECK(number(table, 0, "time_exponent_points") == 4);
    CHECK(number(table, 3, "local_exponent") == doctest::Approx(1));
    CHECK(number(table, 0, "time_exponent_se") > 0.5);
}

TEST_CASE("the reference run on an H200 scales as its arithmetic does") {
    const Table cells = read_csv(std::string(SOURCE_DIR) +
                                 "/results/reference/NVIDIA-H200/isolation_grid_process.csv");
    const Table table = apply_view(cells, View::scaling);
    std::size_t sizes = 0;
    for (std::size_t row = 0; row < table.row_count(); ++row) {
        if (exact_text(table.at(row, "scaling_axis")) != "num_params" ||
            exact_text(table.at(row, "context_length")) != "512" ||
            exact_text(table.at(row, "pass_type")) != "forward_backward")
            continue;
        ++sizes;
        // FLOPs grow a little slower than parameters, since attention and head are in them.
        CHECK(number(table, row, "time_exponent") == doctest::Approx(0.9).epsilon(0.06));
        CHECK(number(table, row, "time_exponent_se") < 0.05);
        CHECK(number(table, row, "time_exponent_points") == 5);
    }
    CHECK(sizes == 5);
}
