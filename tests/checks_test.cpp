// The checks of a sweep's rows against each other.
#include "orchestrator/checks.h"

#include <doctest/doctest.h>
#include <isosweep/flops.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "orchestrator/views.h"
#include "temp_folder.h"

using namespace isosweep;
namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

/// Rows of a sweep that are made by hand.
class Rows {
  public:
    /// A row whose steps take `ms` on a GPU that bounds them.
    Rows& add(Cell cell, double ms, const std::map<std::string, double>& phases = {}) {
        cell.device = Device::cuda;
        json::object measurement{{"num_params", num_params(model_config(cell))},
                                 {"device_name", "NVIDIA H200"},
                                 {"samples_ms", json::array(10, ms)},
                                 {"drain_ms", json::array(10, ms / 2)}};
        json::object& of_phases = measurement["phases_ms"].emplace_object();
        for (const auto& [name, time] : phases) of_phases[name] = json::array(10, time);
        rows_.push_back(CheckedRow{std::move(cell), std::move(measurement), {}});
        return *this;
    }
    json::object& last() { return rows_.back()->measurement; }
    std::vector<std::optional<CheckedRow>>& rows() { return rows_; }
    std::vector<RowChecks> check() const {
        return check_rows(rows_.size(), [this](std::size_t row) { return rows_[row]; });
    }

  private:
    std::vector<std::optional<CheckedRow>> rows_;
};

Cell cell_of(const char* size, std::int64_t context, PassType pass_type) {
    Cell cell;
    set_model(cell, size, *find_model_config(size));
    cell.context_length = context;
    cell.pass_type = pass_type;
    return cell;
}

std::string flags_of(const RowChecks& checks) { return join(checks.flags, " "); }

/// A step's time by the costs of a device: 20 us a layer, 400 TFLOP/s in linear layers, 100 in
/// attention.
double time_of(const Cell& cell) {
    const ForwardFlops flops =
        forward_flops(model_config(cell), cell.batch_size, cell.context_length);
    return 0.02 * static_cast<double>(cell.num_layers + 1) + flops.linear / 4e11 +
           flops.attention / 1e11;
}

/// The cells of a grid that obey these costs, on a GPU without a known datasheet.
Rows obedient_rows() {
    Rows rows;
    for (const char* size : {"small", "medium", "large", "xl", "2.7B"})
        for (const std::int64_t context : {128, 512, 2048}) {
            const Cell cell = cell_of(size, context, PassType::forward);
            rows.add(cell, time_of(cell)).last()["device_name"] = "Some GPU";
        }
    return rows;
}

/// The journals of the kept runs, and the plan that each one's starts tell.
struct KeptRun {
    explicit KeptRun(const fs::path& file) : journal(Journal::read(file)) {
        // Keys and cells, as the starts have them.
        std::ifstream lines(file);
        for (std::string line; std::getline(lines, line);) {
            const json::object record = json::parse(line).as_object();
            if (record.at("record") != "start") continue;
            rows.push_back({std::string(record.at("key").as_string()),
                            cell_from_json(record.at("cell").as_object())});
        }
    }
    Journal journal;
    std::vector<PlannedCell> rows;
};

KeptRun kept_run(const std::string& name) {
    return KeptRun(fs::path(SOURCE_DIR) / "results/reference/NVIDIA-H200" / name / "journal.jsonl");
}

}  // namespace

TEST_CASE("the phases have to add up to the step") {
    const Cell cell = cell_of("small", 512, PassType::forward_backward);
    const auto good = Rows().add(cell, 9, {{"forward", 3}, {"backward", 5.9}}).check();
    CHECK(*good[0].phases_sum_percent == doctest::Approx(-100.0 / 90));
    CHECK(flags_of(good[0]).empty());
    const auto bad = Rows().add(cell, 9, {{"forward", 3}, {"backward", 5}}).check();
    CHECK(flags_of(bad[0]) == "phases_sum");
}

TEST_CASE("a backward pass has twice the arithmetic, and thrice with checkpointing") {
    Cell cell = cell_of("small", 512, PassType::forward_backward);
    const auto plain = Rows().add(cell, 9, {{"forward", 3}, {"backward", 6}}).check();
    CHECK(*plain[0].backward_ratio_percent == doctest::Approx(0));
    // As if one of the two products were left out.
    const auto half = Rows().add(cell, 5.7, {{"forward", 3}, {"backward", 2.7}}).check();
    CHECK(flags_of(half[0]) == "backward_ratio");
    cell.activation_checkpointing = true;
    const auto again = Rows().add(cell, 12, {{"forward", 3}, {"backward", 9}}).check();
    CHECK(*again[0].backward_ratio_percent == doctest::Approx(0));
}

TEST_CASE("what does more takes longer, and its forward phase is no faster than a forward pass") {
    const auto times = [](double forward, double both, double step, double phase) {
        Rows rows;
        rows.add(cell_of("small", 512, PassType::train_step), step,
                 {{"forward", phase}, {"backward", step - phase}});
        rows.add(cell_of("small", 512, PassType::forward_backward), both);
        rows.add(cell_of("small", 512, PassType::forward), forward);
        rows.add(cell_of("small", 128, PassType::forward), 99);  // another cell's
        return rows.check();
    };
    const auto good = times(3, 9, 10, 3.3);
    CHECK(*good[0].nested_step_percent == doctest::Approx(100.0 / 9));
    CHECK(*good[1].nested_step_percent == doctest::Approx(200));
    CHECK_FALSE(good[2].nested_step_percent);
    CHECK(*good[0].nested_forward_percent == doctest::Approx(10));
    for (const RowChecks& row : good) CHECK(flags_of(row).empty());
    CHECK(flags_of(times(3, 9, 10, 2.8)[0]) == "nested_forward");
    CHECK(flags_of(times(3, 9, 8.8, 2.9)[0]) == "nested_step");
    CHECK(flags_of(times(9.5, 9, 16, 9.5)[1]) == "nested_step");
    CHECK(flags_of(times(3, 9, 8.95, 2.9)[0]).empty());
}

TEST_CASE("a forward pass is held against a step with checkpointing, too") {
    Cell step = cell_of("small", 512, PassType::forward_backward);
    step.activation_checkpointing = true;
    Rows rows;
    rows.add(step, 12).add(cell_of("small", 512, PassType::forward), 3);
    CHECK(*rows.check()[0].nested_step_percent == doctest::Approx(300));
}

TEST_CASE("rows that the host bounds, and steps that are not waited for, raise no flag") {
    const auto add_broken = [](Rows& rows) {
        rows.add(cell_of("small", 512, PassType::forward_backward), 9,
                 {{"forward", 1}, {"backward", 1}});
        rows.add(cell_of("small", 512, PassType::forward), 10);
    };
    Rows bound_by_gpu;
    add_broken(bound_by_gpu);
    CHECK(flags_of(bound_by_gpu.check()[0]) == "phases_sum nested_forward nested_step");
    for (const std::string how : {"host_bound", "not known", "not waited for"}) {
        CAPTURE(how);
        Rows rows;
        add_broken(rows);
        for (auto& row : rows.rows()) {
            auto& measurement = row->measurement;
            if (how == "host_bound") measurement["drain_ms"] = json::array(10, 0.01);
            if (how == "not known") measurement.erase("drain_ms");
            row->cell.sync = how != "not waited for";
        }
        const auto checks = rows.check();
        CHECK(flags_of(checks[0]).empty());
        CHECK(checks[0].nested_step_percent.has_value() == rows.rows()[0]->cell.sync);
    }
}

TEST_CASE("a step that is faster by chance alone breaks no order") {
    Rows rows;
    rows.add(cell_of("small", 512, PassType::forward_backward), 9);
    rows.add(cell_of("small", 512, PassType::forward), 9.5);
    CHECK(flags_of(rows.check()[0]) == "nested_step");
    rows.last()["samples_ms"] = {8.5, 8.7, 8.9, 9.3, 9.4, 9.6, 9.8, 9.9, 10, 10.2};
    CHECK(*rows.check()[0].nested_step_percent < -5);
    CHECK(flags_of(rows.check()[0]).empty());
}

TEST_CASE("AdamW cannot be faster than the memory") {
    const Cell cell = cell_of("small", 512, PassType::train_step);
    // 28 bytes of 128,625,408 parameters at 4800 GB/s.
    const double floor_ms = 28.0 * 128'625'408 / 4800e6;
    const auto share = [&](double optimizer_ms, const char* gpu) {
        Rows rows;
        rows.add(cell, 9 + optimizer_ms,
                 {{"forward", 3}, {"backward", 6}, {"optimizer", optimizer_ms}});
        rows.last()["device_name"] = gpu;
        return rows.check()[0];
    };
    CHECK(*share(2 * floor_ms, "NVIDIA H200").optimizer_bandwidth_percent == doctest::Approx(50));
    CHECK(flags_of(share(2 * floor_ms, "NVIDIA H200")).empty());
    CHECK(flags_of(share(0.9 * floor_ms, "NVIDIA H200")) == "optimizer_floor");
    CHECK_FALSE(share(floor_ms, "Some GPU").optimizer_bandwidth_percent);
}

TEST_CASE("a fit finds what layers and arithmetic cost") {
    const auto checks = obedient_rows().check();
    const PhysicsFit& fit = *checks[0].fit;
    CHECK(fit.rows == 15);
    CHECK(*fit.layer_us == doctest::Approx(20).epsilon(1e-3));
    CHECK(*fit.linear_tflops == doctest::Approx(400).epsilon(1e-3));
    CHECK(*fit.attention_tflops == doctest::Approx(100).epsilon(1e-3));
    CHECK_FALSE(fit.memory_gb_per_s);
    for (const RowChecks& row : checks) {
        CHECK(std::abs(*row.fit_residual_percent) < 0.01);
        CHECK(flags_of(row).empty());
    }
}

TEST_CASE("no fitted rate is above the datasheet") {
    Rows rows = obedient_rows();
    for (auto& row : rows.rows()) row->measurement["device_name"] = "NVIDIA H200";
    // Its fp32 has 67 TFLOP/s, and these rows would have 400.
    const PhysicsFit fit = *rows.check()[0].fit;
    CHECK_FALSE(fit.linear_tflops);
    CHECK_FALSE(fit.attention_tflops);
}

TEST_CASE("a planted row off the physics is the one that is flagged") {
    for (const double factor : {0.5, 0.85, 1.15, 2.0}) {
        CAPTURE(factor);
        Rows rows = obedient_rows();
        for (json::value& sample : rows.rows()[7]->measurement["samples_ms"].as_array())
            sample = factor * sample.to_number<double>();
        const auto checks = rows.check();
        CHECK(*checks[7].fit_residual_percent == doctest::Approx(100 * (factor - 1)).epsilon(0.02));
        for (std::size_t row = 0; row < checks.size(); ++row)
            CHECK(flags_of(checks[row]) == (row == 7 ? "off_fit" : ""));
    }
}

TEST_CASE("there is no fit of few rows, of repetitions, and of another model than the cell's") {
    Rows few = obedient_rows();
    few.rows().resize(7);
    CHECK_FALSE(few.check()[0].fit);
    Rows repeated;
    for (int i = 0; i < 20; ++i) {
        Cell cell = cell_of(i % 2 == 0 ? "small" : "large", 512, PassType::forward);
        cell.replicate = i;
        repeated.add(cell, time_of(cell));
    }
    CHECK_FALSE(repeated.check()[0].fit);
    Rows others = obedient_rows();
    for (auto& row : others.rows()) row->measurement["num_params"] = 42;
    CHECK_FALSE(others.check()[0].fit);
}

TEST_CASE("rows of other costs are fitted apart") {
    Rows rows = obedient_rows();
    const std::size_t count = rows.rows().size();
    for (std::size_t i = 0; i < count; ++i) {
        Cell cell = rows.rows()[i]->cell;
        cell.precision = Precision::bf16;
        rows.add(cell, 0.5 * time_of(cell)).last()["device_name"] = "Some GPU";
    }
    const auto checks = rows.check();
    CHECK(*checks[0].fit->linear_tflops == doctest::Approx(400).epsilon(1e-3));
    CHECK(*checks[count].fit->linear_tflops == doctest::Approx(800).epsilon(1e-3));
    for (const RowChecks& row : checks) CHECK(flags_of(row).empty());
}

TEST_CASE("a drift is flagged beyond 2 %") {
    Rows rows;
    for (const double ratio : {1.019, 1.021, 0.979}) {
        rows.add(cell_of("small", 512, PassType::forward), 3);
        rows.rows().back()->canary_ratio = ratio;
    }
    const auto checks = rows.check();
    CHECK(flags_of(checks[0]).empty());
    CHECK(flags_of(checks[1]) == "drift");
    CHECK(flags_of(checks[2]) == "drift");
}

TEST_CASE("the kept runs on an H200 pass their checks") {
    for (const std::string name :
         {"isolation_grid_process", "isolation_grid_shared", "reference_kernels", "fused_kernels",
          "profiling_benchmarking_run_benchmarks", "profiling_benchmarking_warmup_comparison",
          "run_benchmarks_16GiB", "full_bf16"}) {
        const KeptRun run = kept_run(name);
        const auto checks = check_sweep(run.rows, run.journal);
        for (std::size_t row = 0; row < checks.size(); ++row) {
            CAPTURE(name);
            CAPTURE(describe(run.rows[row].cell));
            CHECK(flags_of(checks[row]).empty());
        }
    }
}

TEST_CASE("the view of the checks of the kept grid") {
    const KeptRun run = kept_run("isolation_grid_process");
    const Table table = apply_view(make_cells_table(run.rows, run.journal), View::checks);
    CHECK(to_text(table, shown_columns(View::checks, table)) ==
          tests::file_contents(fs::path(TESTS_DIR) / "expected/checks_h200.txt"));
}

TEST_CASE("the kept grids' forward passes tell what an H200 attains") {
    // The probe of the matrix product measures 51.3 TFLOP/s in fp32 and 802 in bf16; the datasheet
    // has 4800 GB/s.
    const KeptRun grid = kept_run("isolation_grid_process");
    const PhysicsFit fp32 = *check_sweep(grid.rows, grid.journal)[0].fit;
    CHECK(fp32.rows == 10);
    CHECK(*fp32.linear_tflops > 45);
    CHECK(*fp32.linear_tflops < 60);
    CHECK(fp32.sigma_percent < 8);
    const KeptRun full = kept_run("full_bf16");
    std::size_t fitted = 0;
    for (const RowChecks& row : check_sweep(full.rows, full.journal)) {
        if (!row.fit || row.fit->rows != 15) continue;  // those that are no forward passes
        ++fitted;
        CHECK(*row.fit->linear_tflops > 500);
        CHECK(*row.fit->linear_tflops < 802);
        CHECK(*row.fit->memory_gb_per_s > 1500);
        CHECK(*row.fit->memory_gb_per_s < 4800);
        CHECK(std::abs(*row.fit_residual_percent) < 6);
    }
    CHECK(fitted == 15);
}
