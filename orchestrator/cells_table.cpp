#include "orchestrator/cells_table.h"

#include <isosweep/figures.h>
#include <isosweep/text.h>

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <optional>
#include <unordered_set>

#include "orchestrator/checks.h"
#include "orchestrator/clock.h"
#include "orchestrator/columns.h"
#include "orchestrator/prediction.h"
#include "orchestrator/repro.h"

namespace isosweep {
namespace json = boost::json;
namespace {

/// A JSON scalar as a table's value; texts on one line.
Value value_of(const json::value& value) {
    if (value.is_int64()) return value.get_int64();
    if (value.is_uint64()) return std::to_string(value.get_uint64());
    if (value.is_double()) return value.get_double();
    if (value.is_bool()) return std::string(value.get_bool() ? "on" : "off");
    if (value.is_string()) return one_line(value.get_string());
    return std::monostate{};
}

Value value_of(std::int64_t value) { return value; }
Value value_of(const std::optional<double>& value) {
    return value ? Value(*value) : Value(std::monostate{});
}
Value value_of(bool value) { return to_text(value); }
Value value_of(const std::string& value) { return value; }
Value value_of(const OptionalBytes& value) {
    return value.bytes == 0 ? Value(std::monostate{}) : Value(value.bytes);
}
Value value_of(const StepCount& value) {
    return value.is_automatic() ? Value(to_text(value)) : Value(value.steps);
}
Value value_of(const Passes& value) { return to_text(value); }
template <NamedEnum E>
Value value_of(E value) {
    return to_text(value);
}

/// The attempt that a cell's row tells of, if there is one.
const EndedAttempt* shown_attempt(const CellHistory& history) {
    if (history.recorded) return &*history.recorded;
    return history.last ? &*history.last : nullptr;
}

/// The outcome that a cell's row shows, where `shown_attempt` ended with `ended`.
Outcome shown_outcome(const CellHistory& history, Outcome ended) {
    if (!history.recorded && history.open && !history.open_here) {
        Outcome outcome;
        outcome.status = Status::interrupted;
        outcome.message = "the sweep ended before this attempt did";
        return outcome;
    }
    return ended;
}

/// The cell because of which another was skipped.
std::string witness_of(const Outcome& outcome) {
    const json::value* const witness = outcome.error.if_contains("witness");
    return witness && witness->is_string() ? std::string(witness->get_string()) : std::string();
}

/// The column `error`: empty, "OOM", or one line of text.
std::string error_text(const Outcome& outcome) {
    if (outcome.status == Status::ok) return {};
    if (outcome.status == Status::oom_gpu || outcome.status == Status::oom_host) return "OOM";
    return outcome.message.empty() ? std::string(to_name(outcome.status)) : outcome.message;
}

/// Columns of ours that a worker fills beside `worker_columns`.
constexpr std::array<std::string_view, 5> filled_by_worker = {
    "num_params", "peak_allocated_bytes", "peak_reserved_bytes", "requested_bytes", "free_bytes"};

/// Whether a worker may fill a column of ours.
bool may_fill(std::string_view name) {
    static const std::unordered_set<std::string_view> names = [] {
        std::unordered_set<std::string_view> all(filled_by_worker.begin(), filled_by_worker.end());
        all.insert(worker_columns.begin(), worker_columns.end());
        return all;
    }();
    return names.contains(name);
}

/// Calls `visit(name, value)` for what is a scalar in `object` and becomes a column of its own
/// name: all but names of ours and of axes.
template <class Visit>
void for_each_scalar(const json::object& object, const Cell& cell, Visit&& visit) {
    for (const auto& member : object) {
        if (member.value().is_array() || member.value().is_object() || member.value().is_null())
            continue;
        const std::string_view name = member.key();
        if (!may_fill(name) && (is_own_column(name) || cell.custom.contains(name))) continue;
        visit(name, member.value());
    }
}

/// What holds for a cell that was not measured.
const Setting& latest(const Journal& journal) {
    static const Setting none;
    return journal.setting() ? *journal.setting() : none;
}

/// What a large matrix product reaches on the attempt's GPU at the cell's precision, where the
/// journal has it.
std::optional<double> attainable_tflops(const Journal& journal, const EndedAttempt* attempt,
                                        const Cell& cell) {
    const WorkerRecord* const worker = attempt ? journal.worker(attempt->token) : nullptr;
    if (!worker || cell.device != Device::cuda) return std::nullopt;
    return journal.attainable_tflops(std::string(worker->gpu_uuid), cell.precision);
}

/// What the model alone foresees: whoever reads the CSV can work it out again.
void set_prediction(Table& table, const Cell& cell, const Setting& setting) {
    if (cell.device != Device::cuda) return;
    const Prediction prediction = predict_by_model(cell, setting.gpu, setting.isolation);
    if (prediction.peak_bytes) table.set("predicted_peak_bytes", *prediction.peak_bytes);
    if (prediction.step_ms) table.set("predicted_time_ms", *prediction.step_ms);
    if (prediction.cell_ms) table.set("predicted_elapsed_ms", *prediction.cell_ms);
}

}  // namespace

bool is_own_column(std::string_view name) {
    static const std::unordered_set<std::string_view> names = [] {
        std::unordered_set<std::string_view> all = {"key"};
        const Cell defaults;
        for_each_field(defaults, [&](const Field& field, const auto&) { all.insert(field.name); });
        all.insert(first_columns.begin(), first_columns.end());
        all.insert(figure_columns.begin(), figure_columns.end());
        all.insert(worker_columns.begin(), worker_columns.end());
        all.insert(view_columns.begin(), view_columns.end());
        return all;
    }();
    return names.contains(name);
}

CellsTable::CellsTable(const std::vector<PlannedCell>& plan, const Journal& journal)
    : plan_(plan), journal_(journal) {
    for (const std::string_view column : first_columns) no_rows_.add_column(column);
    no_rows_.add_column("key");
    const Cell defaults;
    for_each_field(defaults,
                   [&](const Field& field, const auto&) { no_rows_.add_column(field.name); });
    for (const PlannedCell& planned : plan)
        for (const auto& axis : planned.cell.custom) no_rows_.add_column(axis.first);
    for (const std::string_view column : figure_columns) no_rows_.add_column(column);
    for (const std::string_view column : worker_columns) no_rows_.add_column(column);
    checks_ = check_rows(plan.size(), [&](std::size_t row) -> std::optional<CheckedRow> {
        const CellHistory& history = journal.history(plan[row].key);
        const EndedAttempt* const ended = shown_attempt(history);
        if (!ended) return std::nullopt;
        Outcome outcome = shown_outcome(history, journal.attempt(*ended).outcome);
        for (const json::object* figures : {&outcome.measurement, &outcome.error})
            for_each_scalar(*figures, plan[row].cell,
                            [&](std::string_view name, const auto&) { no_rows_.add_column(name); });
        return checked_row(plan[row], journal, std::move(outcome.measurement));
    });
}

Table CellsTable::rows(std::size_t first, std::size_t last) const {
    Table table = no_rows_;
    for (std::size_t row = first; row < last; ++row) add_row(table, row);
    return table;
}

void CellsTable::add_row(Table& table, std::size_t row) const {
    const PlannedCell& planned = plan_[row];
    const CellHistory& history = journal_.history(planned.key);
    const EndedAttempt* const ended = shown_attempt(history);
    std::optional<Attempt> attempt;
    if (ended) attempt = journal_.attempt(*ended);
    const Outcome outcome =
        shown_outcome(history, attempt ? std::move(attempt->outcome) : Outcome{});
    const Setting& setting = ended ? journal_.setting_of(*ended) : latest(journal_);
    table.add_row();
    table.set("error", error_text(outcome));
    table.set("status", to_text(outcome.status));
    table.set("key", planned.key);
    Cell cell = planned.cell;
    if (cell.device != Device::cpu && !setting.device.empty())
        cell.device = from_name<Device>(setting.device).value_or(cell.device);
    for_each_field(cell, [&](const Field& field, const auto& value) {
        table.set(field.name, value_of(value));
    });
    for (const auto& [name, value] : cell.custom) table.set(name, value_of(value));
    for (const auto& [name, figure] :
         figures(cell, outcome.measurement, attainable_tflops(journal_, ended, cell)))
        table.set(name, value_of(figure));
    set_prediction(table, cell, setting);
    table.set("phase", outcome.phase);
    table.set("exit_code", outcome.exit_code ? Value(std::int64_t{*outcome.exit_code})
                                             : Value(std::monostate{}));
    table.set("signal", outcome.signal);
    table.set("flags", join(outcome.flags, " "));
    table.set("noise_lines", outcome.noise_lines);
    table.set("message", outcome.message);
    table.set("warning", setting.device_warning);
    table.set("attempts", std::int64_t{history.attempts});
    table.set("failed_attempts", std::int64_t{history.failures});
    table.set("isolation", setting.isolation);
    table.set("gpu", setting.gpu);
    table.set("driver", setting.driver);
    table.set("torch", setting.torch.value_or(""));
    table.set("worker_build", setting.worker.value_or(""));
    table.set("isosweep_build", setting.isosweep);
    if (attempt) {
        if (const WorkerRecord* worker = journal_.worker(attempt->token)) {
            table.set("gpu_uuid", std::string(worker->gpu_uuid));
            table.set("cpu_affinity", to_text(worker->cpus));
            if (worker->memory_node) table.set("memory_node", std::int64_t{*worker->memory_node});
        }
        table.set("started_at", format_utc(attempt->start_ms));
        table.set("elapsed_ms", attempt->elapsed_ms);
        table.set("gate_wait_ms", value_of(attempt->times.wait));
        table.set("worker_start_ms", value_of(attempt->times.start));
        table.set("answer_ms", value_of(attempt->times.answer));
        table.set("worker_exit_ms", value_of(attempt->times.exit));
        if (attempt->number > 0) table.set("attempt", std::int64_t{attempt->number});
    }
    table.set("fallback_of", planned.fallback_of);
    table.set("fallback_key", planned.fallback_key);
    if (outcome.status == Status::skipped) table.set("witness", witness_of(outcome));
    set_checks(table, checks_[row]);
    // Another worker is asked for a cell over the protocol alone; it has no Torch, most often.
    if (cell.custom.empty() && setting.torch != "") table.set("command", command_by_hand(cell));
    for (const json::object* figures : {&outcome.measurement, &outcome.error})
        for_each_scalar(*figures, cell, [&](std::string_view name, const json::value& value) {
            table.set(name, value_of(value));
        });
}

Table make_cells_table(const std::vector<PlannedCell>& plan, const Journal& journal) {
    return CellsTable(plan, journal).rows(0, plan.size());
}

}  // namespace isosweep
