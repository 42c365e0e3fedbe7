#include "orchestrator/prediction.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <cmath>

#include "measured_cells.h"
#include "orchestrator/views.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

constexpr const char* h200 = "NVIDIA H200 (140 GiB)";
const std::string reference = SOURCE_DIR "/results/reference/NVIDIA-H200/";

Cell cell_of(const std::string& size, std::int64_t context, Device device) {
    Cell cell;
    set_model(cell, size, *find_model_config(size));
    cell.context_length = context;
    cell.device = device;
    return cell;
}

/// A journal of cells that took so many milliseconds a step.
class Measured {
  public:
    Measured(const std::string& gpu, const std::string& device) {
        Setting setting;
        setting.gpu = gpu;
        setting.device = device;
        setting.isolation = "process";
        journal_.write_header(setting);
    }

    void add(const Cell& cell, double step_ms, std::int64_t elapsed_ms,
             Status status = Status::ok) {
        Attempt attempt;
        attempt.outcome.status = status;
        attempt.outcome.measurement = {{"samples_ms", boost::json::array(10, step_ms)},
                                       {"peak_allocated_bytes", 1234567}};
        attempt.elapsed_ms = elapsed_ms;
        journal_.write_start(key_of(cell), 1, "n", "t", to_json(cell));
        journal_.write_end(key_of(cell), attempt);
    }

    Journal read() const { return Journal::read(journal_.file()); }

  private:
    TempFolder folder_;
    Journal journal_ = Journal::open(folder_ / "j");
};

double number(const Table& table, std::size_t row, const std::string& column) {
    return std::stod(std::get<std::string>(table.at(row, column)));
}

/// The rows of a kept sweep that are predicted not to fit into an H200 or their own limit. Checks
/// that these are the ones that ran out of memory.
int count_predicted_and_lacking(const std::string& sweep) {
    const Table rows = read_csv(reference + sweep + ".csv");
    int lacking = 0;
    for (std::size_t row = 0; row < rows.row_count(); ++row) {
        const auto text = [&](const char* column) {
            return std::get<std::string>(rows.at(row, column));
        };
        Cell cell = cell_of(text("model_size"), std::stoll(text("context_length")), Device::cuda);
        cell.pass_type = *from_name<PassType>(text("pass_type"));
        cell.precision = *from_name<Precision>(text("precision"));
        if (!text("gpu_memory_limit").empty())
            cell.gpu_memory_limit.bytes = std::stoll(text("gpu_memory_limit"));
        const Fit fit = fit_of(cell, *predict_by_model(cell, h200, "process").peak_bytes,
                               *available_bytes(cell, 143771LL << 20));
        CAPTURE(describe(cell));
        CHECK((fit == Fit::no) == (text("status") == "oom_gpu"));
        lacking += fit == Fit::no ? 1 : 0;
    }
    return lacking;
}

}  // namespace

TEST_CASE("what fits leaves room for CUDA and for fragmentation, and knows a cell's limit") {
    constexpr std::int64_t gibi = 1LL << 30;
    Cell cell;
    CHECK(available_bytes(cell, 8 * gibi) == 8 * gibi - 768 * (gibi >> 10));
    CHECK_FALSE(available_bytes(cell, std::nullopt));
    CHECK(available_bytes(cell, gibi / 2) == 0);
    cell.cuda_graph = true;
    CHECK(available_bytes(cell, 8 * gibi) == 8 * gibi - 848 * (gibi >> 10));
    cell.gpu_memory_limit.bytes = 2 * gibi;
    CHECK(available_bytes(cell, 8 * gibi) == 2 * gibi);
    CHECK(available_bytes(cell, std::nullopt) == 2 * gibi);

    cell = Cell{};
    CHECK(fit_of(cell, 95, 100) == Fit::yes);
    CHECK(fit_of(cell, 96, 100) == Fit::tight);
    CHECK(fit_of(cell, 100, 100) == Fit::tight);
    CHECK(fit_of(cell, 101, 100) == Fit::no);
    cell.cuda_graph = true;
    CHECK(fit_of(cell, 83, 100) == Fit::yes);
    CHECK(fit_of(cell, 84, 100) == Fit::tight);
}

TEST_CASE("on an H200 what ran out of memory is what is predicted not to fit") {
    for (const auto& [sweep, lacking] :
         {std::pair("run_benchmarks_16GiB", 3), std::pair("full_bf16", 5)})
        CHECK(count_predicted_and_lacking(sweep) == lacking);
}

TEST_CASE("a cell that was measured is predicted by itself, whatever its seed and its steps") {
    Measured measured(h200, "cuda");
    Cell cell = cell_of("small", 512, Device::cuda);
    measured.add(cell, 40, 2'000);
    Predictor predictor(h200, "process");
    predictor.learn_from(measured.read());
    CHECK(predictor.learned_cells() == 1);
    cell.seed = 7;
    cell.replicate = 2;
    cell.measure_steps = 20;
    const Prediction prediction = predictor.predict(cell);
    CHECK(prediction.basis == PredictionBasis::measured);
    CHECK(*prediction.step_ms == doctest::Approx(40));
    CHECK(*prediction.peak_bytes == 1234567);
    CHECK(*prediction.overhead_ms == doctest::Approx(2'000 - 15 * 40));
    CHECK(*prediction.cell_ms == doctest::Approx(1'400 + 25 * 40));
}

TEST_CASE("a standby takes off what it does beside the cell before") {
    const Cell cell = cell_of("small", 512, Device::cuda);
    const auto overhead = [&](const char* isolation, StandbyMode standby) {
        return *Predictor(h200, isolation, standby).predict(cell).overhead_ms;
    };
    CHECK(overhead("process", StandbyMode::off) == doctest::Approx(950));
    CHECK(overhead("process", StandbyMode::libraries) == doctest::Approx(680));
    CHECK(overhead("process", StandbyMode::context) == doctest::Approx(480));
    CHECK(overhead("shared", StandbyMode::context) == overhead("shared", StandbyMode::off));
}

TEST_CASE("other cells are scaled by what those of their kind took") {
    Measured measured(h200, "cuda");
    const Cell known = cell_of("small", 512, Device::cuda);
    const double factor = 3;
    measured.add(known, factor * *predict_by_model(known, h200, "process").step_ms, 5'000);
    Predictor predictor(h200, "process");
    predictor.learn_from(measured.read());
    const Cell other = cell_of("large", 256, Device::cuda);
    const Prediction prediction = predictor.predict(other);
    const Prediction model = predict_by_model(other, h200, "process");
    CHECK(prediction.basis == PredictionBasis::learned);
    CHECK(*prediction.step_ms == doctest::Approx(factor * *model.step_ms));
    CHECK(*prediction.peak_bytes == *model.peak_bytes);
}

TEST_CASE(
    "nothing is learned from another GPU, from failures, or of a start in another isolation") {
    Measured other_gpu("NVIDIA A100-SXM4-80GB (80 GiB)", "cuda");
    const Cell cell = cell_of("small", 512, Device::cuda);
    other_gpu.add(cell, 40, 2'000);
    Measured failed(h200, "cuda");
    failed.add(cell, 40, 2'000, Status::invalid_result);
    Predictor predictor(h200, "shared");
    predictor.learn_from(other_gpu.read());
    predictor.learn_from(failed.read());
    CHECK(predictor.learned_cells() == 0);
    Measured same(h200, "cuda");
    same.add(cell, 40, 2'000);
    predictor.learn_from(same.read());
    CHECK(*predictor.predict(cell).step_ms == doctest::Approx(40));
    CHECK(*predictor.predict(cell).overhead_ms < 100);
}

TEST_CASE("of a CPU nothing is known until something was measured on it") {
    Predictor predictor("", "process");
    const Cell cell = cell_of("tiny", 128, Device::cpu);
    CHECK_FALSE(predictor.predict(cell).step_ms);
    CHECK_FALSE(predictor.predict(cell).peak_bytes);
    Measured measured("", "cpu");
    measured.add(cell, 8, 300);
    predictor.learn_from(measured.read());
    const Cell longer = cell_of("tiny", 256, Device::cpu);
    const Prediction prediction = predictor.predict(longer);
    CHECK(*prediction.step_ms > 15);
    CHECK(*prediction.step_ms < 30);
    CHECK(*prediction.cell_ms == doctest::Approx(180 + 15 * *prediction.step_ms));
}

TEST_CASE("what was learned of one sweep on an H200 predicts another one") {
    Predictor predictor(h200, "process");
    predictor.learn_from(Journal::read(reference + "reference_kernels/journal.jsonl"));
    CHECK(predictor.learned_cells() == 36);
    double predicted = 0;
    double took = 0;
    int scaled = 0;
    for (const MeasuredCell& measured : measured_cells()) {
        if (measured.sweep != "isolation_grid_process") continue;
        const Prediction prediction = predictor.predict(measured.cell);
        predicted += *prediction.cell_ms;
        took += measured.elapsed_ms;
        scaled += prediction.basis == PredictionBasis::learned ? 1 : 0;
        CAPTURE(describe(measured.cell));
        // Steps that the host bounds vary more from machine to machine.
        CHECK(std::abs(*prediction.step_ms / measured.median_ms - 1) <
              (measured.median_ms < 100 ? 0.25 : 0.09));
    }
    CHECK(scaled == 8);
    CHECK(std::abs(predicted / took - 1) < 0.05);
}

TEST_CASE("the view prediction tells by how much each figure was off") {
    const Table rows =
        apply_view(read_csv(SOURCE_DIR "/tests/expected/prediction_cells.csv"), View::prediction);
    REQUIRE(rows.row_count() == 3);
    CHECK(std::get<double>(rows.at(0, "peak_error_percent")) == doctest::Approx(-10));
    CHECK(std::get<double>(rows.at(0, "time_error_percent")) == doctest::Approx(50));
    CHECK(std::get<double>(rows.at(1, "peak_error_percent")) == doctest::Approx(20));
    CHECK(is_empty(rows.at(1, "elapsed_error_percent")));
    CHECK(std::get<std::string>(rows.at(2, "model_size")) == "median of sizes");
    CHECK(std::get<double>(rows.at(2, "peak_error_percent")) == doctest::Approx(15));
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE("a plan tells memory, time and what will not fit, as on an H200") {
    Sandbox sandbox(
        "model-size = small, 10B\npass-type = forward, train_step\nprecision = bf16\n"
        "kernels = fused\n",
        FAKE_WORKER, "");
    sandbox.use_fake_gpu();
    sandbox.set_variable("FAKE_NVML_NAME=NVIDIA H200");
    sandbox.set_variable("FAKE_NVML_MIB=143771");
    const Ran ran = sandbox.run({"plan", "x.cfg"});
    CHECK(ran.exit_code == 0);
    CHECK(ran.out + ran.err == file_contents(TESTS_DIR "/expected/plan_h200.txt"));
    CHECK(sandbox.run({"plan", "x.cfg", "--format", "markdown"}).out.starts_with("| key"));

    const Ran smaller = sandbox.run({"plan", "x.cfg", "--gpu-memory", "3.3GiB", "--fitting"});
    CHECK(contains(smaller.err, "expected not to fit, will be skipped: 2 cells"));
    CHECK(contains(smaller.err, "tight: 1 cell"));

    const Ran csv = sandbox.run({"plan", "x.cfg", "--format", "csv"});
    write_file(sandbox.path("plan.csv"), csv.out);
    const Table rows = read_csv(sandbox.path("plan.csv").string());
    REQUIRE(rows.row_count() == 4);
    double parts = 0;
    for (const char* part : {"parameters", "gradients", "optimizer", "activations", "workspace"})
        parts += number(rows, 3, "predicted_" + std::string(part) + "_bytes");
    CHECK(parts == number(rows, 3, "predicted_peak_bytes"));
    CHECK(number(rows, 3, "available_bytes") == (143771.0 - 768) * 0x1p20);
    CHECK(std::get<std::string>(rows.at(3, "fits")) == "no");
    CHECK(sandbox.run({"plan", "x.cfg", "--format", "xml"}).exit_code == 2);
    // Nothing was begun.
    CHECK_FALSE(std::filesystem::exists(sandbox.path("results")));
}

TEST_CASE("a plan learns from the sweep's own journal, and from another one of that GPU") {
    Sandbox sandbox("model-size = tiny, small\nbatch-size = 1, 2\n", FAKE_WORKER, "");
    sandbox.use_fake_gpu();
    const Ran before = sandbox.run({"plan", "x.cfg"});
    CHECK(contains(before.err, "no time is predicted: nothing is known of Fake GPU (8.00 GiB)"));
    CHECK(sandbox.sweep({"--model-size", "tiny"}).exit_code == 0);
    const Ran after = sandbox.run({"plan", "x.cfg"});
    CHECK(contains(after.err, "2 cells predicted by what was measured of the same"));
    CHECK(contains(after.err, "for the 2 left"));
    CHECK(contains(after.out, " 1.6 "));  // the fake worker's median
    const Ran other = sandbox.run(
        {"plan", "x.cfg", "--output", "results/y.csv", "--learn-from", "results/x.csv"});
    CHECK(contains(other.err, "2 cells predicted by what was measured of the same"));
    CHECK_FALSE(contains(other.err, " left"));
    const Ran none = sandbox.run({"plan", "x.cfg", "--learn-from", "nowhere"});
    CHECK(none.exit_code == 2);
    CHECK(contains(none.err, "expected the journal of an earlier run"));

    // Where there is no such GPU, the journal says what it was.
    Sandbox elsewhere("model-size = tiny, small\n", FAKE_WORKER, "");
    CHECK(contains(elsewhere.run({"plan", "x.cfg"}).err, "there is no GPU here"));
    const Ran there = elsewhere.run({"plan", "x.cfg", "--gpu-memory", "8GiB", "--learn-from",
                                     sandbox.path("results/x.csv").string()});
    CHECK(contains(there.err, " on Fake GPU (8.00 GiB)"));
    CHECK(contains(there.out, "yes"));
}

TEST_CASE("what another worker measures along an axis of its own is not foreseen") {
    Sandbox sandbox("axis.behaviour = ok\n");
    sandbox.use_fake_gpu();
    const Ran ran = sandbox.run({"plan", "x.cfg"});
    CHECK_FALSE(contains(ran.out, "GiB"));
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("predicted_peak_bytes") == "");
}

TEST_CASE("--fitting skips what is predicted not to fit, and says why") {
    Sandbox sandbox("model-size = small, xl, 2.7B\n", FAKE_WORKER, "");
    sandbox.use_fake_gpu();
    const Ran ran = sandbox.sweep({"--fitting"});
    CHECK(ran.exit_code == 0);
    CHECK(sandbox.column("status") == "ok skipped skipped");
    CHECK(sandbox.answers() == 1);
    CHECK(contains(sandbox.column("error"),
                   "is predicted to take 8.06 GiB of GPU memory, where 7.25 GiB are there for it"));
    CHECK(contains(sandbox.file("results/x/journal.jsonl"),
                   "\"error\":{\"prediction\":{\"peak_bytes\":"));
    CHECK(contains(ran.err, "1 ok, 2 skipped"));
    CHECK_FALSE(contains(ran.err, "go on with"));
    CHECK(contains(sandbox.run({"status", "x.cfg"}).out, "2 skipped"));
    // A larger GPU holds more, and without the key everything is run.
    CHECK(sandbox.sweep({"--fitting", "--gpu-memory", "10GiB"}).exit_code == 0);
    CHECK(sandbox.column("status") == "ok ok skipped");
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("status") == "ok ok ok");
}

TEST_CASE("--fitting holds a cell against its own limit, and warns where no memory is known") {
    Sandbox limited("model-size = small, xl\ngpu-memory-limit = 4GiB\nfitting = on\n", FAKE_WORKER,
                    "");
    limited.use_fake_gpu();
    CHECK(limited.sweep().exit_code == 0);
    CHECK(limited.column("status") == "ok skipped");
    Sandbox without("model-size = small, xl\n", FAKE_WORKER, "");
    const Ran ran = without.sweep({"--fitting"});
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.err, "fitting = on skips nothing"));
    CHECK(without.column("status") == "ok ok");
}

TEST_CASE("rows have what the model alone predicts of them") {
    Sandbox sandbox("model-size = small\n", FAKE_WORKER, "");
    sandbox.use_fake_gpu();
    sandbox.set_variable("FAKE_NVML_NAME=NVIDIA H200");
    CHECK(sandbox.sweep().exit_code == 0);
    Cell cell = cell_of("small", 512, Device::cuda);
    const Prediction model = predict_by_model(cell, "NVIDIA H200", "process");
    CHECK(std::stoll(sandbox.column("predicted_peak_bytes")) == *model.peak_bytes);
    CHECK(std::stod(sandbox.column("predicted_time_ms")) == doctest::Approx(*model.step_ms));
    CHECK(std::stod(sandbox.column("predicted_elapsed_ms")) == doctest::Approx(*model.cell_ms));
    const Ran view = sandbox.run({"report", "x.cfg", "--view", "prediction"});
    CHECK(contains(view.out, "median of sizes"));
    CHECK(contains(view.out, "predicted ms"));
}

TEST_SUITE_END();
