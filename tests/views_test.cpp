#include "orchestrator/views.h"

#include <doctest/doctest.h>

#include <boost/json/array.hpp>

#include "temp_folder.h"

using namespace isosweep;
using isosweep::tests::TempFolder;

namespace {

/// A plan and a journal in which cells end as told.
struct Sample {
    Sample() : journal(Journal::open(folder / "j")) {
        Setting setting;
        setting.device = "cpu";
        setting.isolation = "process";
        journal.write_header(setting);
    }
    void add(const Cell& cell, Outcome outcome, Decision decision = Decision::record) {
        plan.push_back({key_of(cell), cell});
        Attempt attempt;
        attempt.outcome = std::move(outcome);
        attempt.decision = decision;
        journal.write_start(plan.back().key, 1, "n", "t", {});
        journal.write_end(plan.back().key, attempt);
    }
    Table view(View which) const { return apply_view(make_cells_table(plan, journal), which); }

    TempFolder folder;
    Journal journal;
    std::vector<PlannedCell> plan;
};

Outcome ok(std::initializer_list<double> samples) {
    Outcome outcome;
    outcome.status = Status::ok;
    outcome.measurement = {{"num_params", 42},
                           {"samples_ms", boost::json::array(samples.begin(), samples.end())},
                           {"warmup_ms", boost::json::array{7.5}}};
    return outcome;
}

Outcome failed(Status status, const std::string& message) {
    Outcome outcome;
    outcome.status = status;
    outcome.message = message;
    return outcome;
}

std::string first_lines(const std::string& csv, std::size_t columns) {
    std::string text;
    std::size_t at = 0;
    while (at < csv.size()) {
        const std::string line = csv.substr(at, csv.find('\n', at) - at);
        std::size_t end = 0;
        for (std::size_t i = 0; i < columns && end != std::string::npos; ++i)
            end = line.find(',', end + (i > 0 ? 1 : 0));
        text += line.substr(0, end) + "\n";
        at += line.size() + 1;
    }
    return text;
}

}  // namespace

TEST_CASE("one row per planned cell in plan order, the fixed columns first") {
    Sample sample;
    Cell cell;
    sample.add(cell, ok({1, 3}));
    cell.context_length = 1024;
    Outcome oom = failed(Status::oom_gpu, "Tried to allocate");
    oom.error = {{"requested_bytes", 4096}, {"message", "Tried to allocate"}, {"num_params", 42}};
    sample.add(cell, oom);
    cell.context_length = 2048;
    sample.add(cell, failed(Status::error, "it, broke"));
    cell.context_length = 4096;
    sample.plan.push_back({key_of(cell), cell});
    CHECK(
        first_lines(to_csv(sample.view(View::cells)), 12) ==
        R"(model_size,context_length,batch_size,warmup_steps,measure_steps,pass_type,num_params,mean_time_ms,std_time_ms,cv_percent,error,status
small,512,4,5,10,forward,42,2,1,50,,ok
small,1024,4,5,10,forward,42,,,,OOM,oom_gpu
small,2048,4,5,10,forward,,,,,"it, broke"
small,4096,4,5,10,forward,,,,,not_run,not_run
)");
    const Table table = sample.view(View::cells);
    CHECK(std::get<double>(table.at(0, "sample_std_time_ms")) == doctest::Approx(1.41421356));
    CHECK(std::get<double>(table.at(0, "tokens_per_s")) == doctest::Approx(1'024'000));
    CHECK(std::get<std::int64_t>(table.at(1, "requested_bytes")) == 4096);
    CHECK(is_empty(table.at(1, "tokens_per_s")));
}

TEST_CASE("a worker's figures become columns, but cannot take ours") {
    Sample sample;
    Outcome outcome = ok({1, 3});
    outcome.measurement["status"] = "fake";
    outcome.measurement["error"] = "fake";
    outcome.measurement["joules"] = 2.5;
    sample.add({}, outcome);
    const Table table = sample.view(View::cells);
    CHECK(std::get<std::string>(table.at(0, "status")) == "ok");
    CHECK(std::get<std::string>(table.at(0, "error")).empty());
    CHECK(std::get<double>(table.at(0, "joules")) == 2.5);
}

TEST_CASE("rows that are made a part at a time are those of the whole table") {
    Sample sample;
    Cell cell;
    for (int i = 0; i < 5; ++i) {
        cell.context_length = 64 + i;
        Outcome outcome = ok({1.0 + i, 3});
        if (i == 3) outcome.measurement["figure_of_one"] = 4.5;
        if (i == 4) outcome = failed(Status::error, "no");
        if (i == 4) outcome.error = {{"hint", "of its own"}};
        sample.add(cell, outcome);
    }
    const Table whole = make_cells_table(sample.plan, sample.journal);
    const CellsTable cells(sample.plan, sample.journal);
    for (const View view : {View::cells, View::phases}) {
        REQUIRE(is_row_by_row(view));
        std::string parts = to_csv(apply_view(cells.rows(0, 2), view));
        parts += rows_to_csv(apply_view(cells.rows(2, 4), view));
        parts += rows_to_csv(apply_view(cells.rows(4, 5), view));
        CHECK(parts == to_csv(apply_view(whole, view)));
    }
    CHECK(whole.has_column("figure_of_one"));
    CHECK(whole.has_column("hint"));
    CHECK_FALSE(is_row_by_row(View::warmup));
}

TEST_CASE("what a worker may say of itself stands as it is, what follows is derived") {
    Sample sample;
    Outcome outcome = ok({1, 3});
    outcome.measurement["num_params"] = 128625408;
    outcome.measurement["power_w_mean"] = 650.5;
    outcome.measurement["throttled"] = false;
    outcome.measurement["stop_reason"] = "step_cap";
    outcome.measurement["mfu_percent"] = 99;  // not its business
    outcome.measurement["enqueue_ms"] = {0.25, 0.75};
    sample.add({}, outcome);
    const Table table = sample.view(View::cells);
    CHECK(std::get<double>(table.at(0, "power_w_mean")) == 650.5);
    CHECK(std::get<std::string>(table.at(0, "throttled")) == "off");
    CHECK(std::get<std::string>(table.at(0, "stop_reason")) == "step_cap");
    CHECK(is_empty(table.at(0, "mfu_percent")));
    CHECK(std::get<double>(table.at(0, "enqueue_median_ms")) == 0.5);
    CHECK(std::get<std::int64_t>(table.at(0, "samples")) == 2);
    CHECK(std::get<double>(table.at(0, "tflops_per_s")) == doctest::Approx(266.98423));
}

TEST_CASE("the warm-up view compares with 5 warm-up steps") {
    Sample sample;
    Cell cell;
    for (const int steps : {0, 5}) {
        cell.warmup_steps = steps;
        sample.add(cell, ok(steps == 0 ? std::initializer_list<double>{4, 6}
                                       : std::initializer_list<double>{4, 4}));
    }
    cell.pass_type = PassType::forward_backward;  // another cell: nothing to compare with
    cell.warmup_steps = 1;
    sample.add(cell, ok({9, 9}));
    CHECK(
        first_lines(to_csv(sample.view(View::warmup)), 7) ==
        R"(warmup_steps,mean_time_ms,std_time_ms,cv_percent,difference_to_5_warmup_ms,difference_to_5_warmup_percent,model_size
0,5,1,20,1,25,small
5,4,0,0,0,0,small
1,9,0,0,,,small
)");
}

TEST_CASE("the phases view has the forward_backward cells with their ratio") {
    Sample sample;
    Cell cell;
    sample.add(cell, ok({1, 1}));
    cell.pass_type = PassType::forward_backward;
    Outcome outcome = ok({6, 6});
    outcome.measurement["phases_ms"] = {{"forward", {2.0, 2.0}}, {"backward", {3.0, 5.0}}};
    sample.add(cell, outcome);
    cell.context_length = 1024;
    sample.add(cell, failed(Status::oom_gpu, ""));
    CHECK(
        first_lines(to_csv(sample.view(View::phases)), 15) ==
        R"(model_size,num_params,context_length,batch_size,warmup_steps,measure_steps,forward_mean_ms,forward_std_ms,forward_cv_percent,backward_mean_ms,backward_std_ms,backward_cv_percent,total_mean_ms,backward_forward_ratio,error
small,42,512,4,5,10,2,0,0,4,1,25,6,2,
small,,1024,4,5,10,,,,,,,,,OOM
)");
}

TEST_CASE("every view keeps every column of cells, even where it has no rows") {
    const Sample none;
    Sample sample;
    Cell cell;
    cell.pass_type = PassType::forward_backward;
    sample.add(cell, ok({1, 3}));
    for (const Sample* one : std::initializer_list<const Sample*>{&sample, &none}) {
        const Table cells = one->view(View::cells);
        for (const auto& [view, name] : EnumNames<View>::value)
            for (const std::string& column : cells.columns())
                CHECK(one->view(view).has_column(column));
    }
}

TEST_CASE("the memory view knows the room of a cell from its limit, its GPU's error or its name") {
    Table cells;
    const auto add = [&](const std::string& device, const std::string& gpu,
                         const std::string& uuid) {
        cells.add_row();
        cells.set("device", device);
        cells.set("gpu", gpu);
        cells.set("gpu_uuid", uuid);
        cells.set("peak_allocated_bytes", std::int64_t{1} << 30);
    };
    add("cuda", "NVIDIA H200 (140 GiB)", "GPU-1");
    cells.set("gpu_memory_limit", std::string("2147483648"));
    add("cuda", "NVIDIA H200 (140 GiB)", "GPU-1");
    add("cuda", "NVIDIA H200 (140 GiB)", "GPU-2");
    cells.set("capacity_bytes", std::int64_t{150109880320});
    add("cuda", "NVIDIA H200 (140 GiB)", "GPU-2");
    add("cuda", "A (8 GiB), B (4 GiB)", "GPU-3");
    add("cuda", "", "");
    add("cpu", "NVIDIA H200 (140 GiB)", "GPU-1");
    const Table table = apply_view(cells, View::memory);
    std::string room;
    for (std::size_t row = 0; row < table.row_count(); ++row)
        room += exact_text(table.at(row, "memory_room_bytes")) + " ";
    CHECK(room == "2147483648 150323855360 150109880320 150109880320    ");
    CHECK(std::get<double>(table.at(0, "memory_share_percent")) == 50);
    CHECK(is_empty(table.at(4, "memory_share_percent")));
}

TEST_CASE("the failures view puts the same causes together, by status") {
    Sample sample;
    Cell cell;
    const auto add = [&](Outcome outcome, const std::string& phase) {
        ++cell.context_length;
        outcome.phase = phase;
        sample.add(cell, std::move(outcome));
    };
    Outcome exited = failed(Status::error, "said no");
    exited.exit_code = 3;
    add(exited, "build");
    add(failed(Status::crash, "one"), "backward");
    add(ok({1}), "");
    add(failed(Status::oom_gpu, "much"), "forward");
    add(failed(Status::crash, "two"), "forward");
    add(failed(Status::crash, "three"), "backward");
    const Table table = sample.view(View::failures);
    std::vector<std::string> causes;
    for (std::size_t row = 0; row < table.row_count(); ++row)
        causes.push_back(exact_text(table.at(row, "cause")) + ", " +
                         exact_text(table.at(row, "cause_cells")) + ": " +
                         exact_text(table.at(row, "message")));
    CHECK(causes ==
          std::vector<std::string>{"oom_gpu in forward, 1: much", "crash in backward, 2: one",
                                   "crash in backward, 2: three", "crash in forward, 1: two",
                                   "error in build (exit code 3), 1: said no"});
}

TEST_CASE("an attempt that another process left open is an interruption") {
    Sample sample;
    Cell cell;
    sample.plan.push_back({key_of(cell), cell});
    sample.journal.write_start(key_of(cell), 1, "n", "t", {});
    const auto status = [&](const Journal& journal) {
        return std::get<std::string>(make_cells_table(sample.plan, journal).at(0, "status"));
    };
    CHECK(status(sample.journal) == "not_run");  // it is running
    CHECK(status(Journal::read(sample.folder / "j")) == "interrupted");
}

TEST_CASE("a row has the attainable speed of its GPU and precision, and its command by hand") {
    Sample sample;
    Setting setting;
    setting.device = "cuda";
    sample.journal.write_header(setting);
    sample.journal.write_worker({"", 1, 1, 0, "GPU-1"});
    sample.journal.write_probe({"GPU-1", "NVIDIA H200", Precision::bf16, 700, {}});
    Cell cell;
    Outcome outcome = ok({10.0, 10.0});
    outcome.measurement["num_params"] = num_params(model_config(cell));
    sample.add(cell, outcome);
    cell.precision = Precision::bf16;
    sample.add(cell, outcome);
    const Table table = sample.view(View::cells);
    CHECK(is_empty(table.at(0, "attainable_tflops")));
    CHECK(std::get<double>(table.at(1, "attainable_tflops")) == 700);
    CHECK(std::get<double>(table.at(1, "mfu_attainable_percent")) > 0);
    CHECK(std::get<std::string>(table.at(1, "command")) ==
          "isosweep-worker --model-size small --context-length 512 --batch-size 4 --pass-type "
          "forward --precision bf16 --device cuda");
    sample.journal.write_hello({{"torch", ""}});
    CHECK(is_empty(sample.view(View::cells).at(1, "command")));
}
