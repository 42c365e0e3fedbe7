#include "orchestrator/views.h"

#include <isosweep/figures.h>
#include <isosweep/text.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <map>
#include <optional>

#include "orchestrator/clock.h"
#include "orchestrator/columns.h"
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

/// The outcome that a cell's row shows.
Outcome shown_outcome(const CellHistory& history) {
    if (history.recorded) return history.recorded->outcome;
    Outcome outcome;
    if (history.open && !history.open_here) {
        outcome.status = Status::interrupted;
        outcome.message = "the sweep ended before this attempt did";
    } else if (history.last) {
        return history.last->outcome;
    }
    return outcome;
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

bool is_in(const auto& columns, std::string_view name) {
    return std::find(columns.begin(), columns.end(), name) != columns.end();
}

/// Sets what is a scalar in `object` as columns of its own name, but for names of ours and of axes.
void set_scalars(Table& table, const json::object& object, const Cell& cell) {
    for (const auto& member : object) {
        if (member.value().is_array() || member.value().is_object() || member.value().is_null())
            continue;
        const std::string_view name = member.key();
        const bool may_fill = is_in(filled_by_worker, name) || is_in(worker_columns, name);
        if (!may_fill && (is_own_column(name) || cell.custom.contains(name))) continue;
        table.set(name, value_of(member.value()));
    }
}

/// What a large matrix product reaches on the attempt's GPU at the cell's precision, where the
/// journal has it.
std::optional<double> attainable_tflops(const Journal& journal, const Attempt* attempt,
                                        const Cell& cell) {
    const WorkerRecord* const worker = attempt ? journal.worker(attempt->token) : nullptr;
    if (!worker || cell.device != Device::cuda) return std::nullopt;
    return journal.attainable_tflops(worker->gpu_uuid, cell.precision);
}

/// The columns that a view puts first.
std::vector<std::string> columns_of(View view) {
    switch (view) {
        case View::cells:
            return {first_columns.begin(), first_columns.end()};
        case View::warmup:
            return {"warmup_steps",
                    "mean_time_ms",
                    "std_time_ms",
                    "cv_percent",
                    "difference_to_5_warmup_ms",
                    "difference_to_5_warmup_percent"};
        case View::phases:
            return {"model_size",
                    "num_params",
                    "context_length",
                    "batch_size",
                    "warmup_steps",
                    "measure_steps",
                    "forward_mean_ms",
                    "forward_std_ms",
                    "forward_cv_percent",
                    "backward_mean_ms",
                    "backward_std_ms",
                    "backward_cv_percent",
                    "total_mean_ms",
                    "backward_forward_ratio",
                    "error"};
    }
    return {};
}

/// A number from a table, which a CSV has as text.
std::optional<double> number_at(const Table& table, std::size_t row, std::string_view column) {
    const Value& value = table.at(row, column);
    if (const auto* number = std::get_if<double>(&value)) return *number;
    if (const auto* integer = std::get_if<std::int64_t>(&value))
        return static_cast<double>(*integer);
    const auto* text = std::get_if<std::string>(&value);
    double number = 0;
    if (!text || text->empty()) return std::nullopt;
    const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), number);
    if (problem != std::errc{} || end != text->data() + text->size()) return std::nullopt;
    return number;
}

std::string text_at(const Table& table, std::size_t row, std::string_view column) {
    const Value& value = table.at(row, column);
    if (const auto* text = std::get_if<std::string>(&value)) return *text;
    if (const auto* integer = std::get_if<std::int64_t>(&value)) return std::to_string(*integer);
    if (const auto* number = std::get_if<double>(&value)) return format_exact(*number);
    return {};
}

/// The columns that say what was measured: a cell's fields but its dimensions, and custom axes,
/// which a CSV has between `replicate` and the figures.
std::vector<std::string> axis_columns(const Table& table) {
    std::vector<std::string> names;
    const Cell defaults;
    for_each_field(defaults, [&](const Field& field, const auto&) {
        if (field.kind != FieldKind::dimension) names.emplace_back(field.name);
    });
    bool behind_fields = false;
    for (const std::string& column : table.columns()) {
        if (column == figure_columns.front()) break;
        if (behind_fields) names.push_back(column);
        behind_fields = behind_fields || column == "replicate";
    }
    return names;
}

bool varies(const Table& table, const std::string& column) {
    for (std::size_t row = 1; row < table.row_count(); ++row)
        if (text_at(table, row, column) != text_at(table, 0, column)) return true;
    return false;
}

/// The fields of a row's cell but `left_out`, as one text: equal for cells that differ in it alone.
std::string cell_without(const Table& table, std::size_t row, std::string_view left_out) {
    std::string text;
    for (const std::string& column : axis_columns(table))
        if (column != left_out) text += text_at(table, row, column) + "\n";
    return text;
}

void copy_row(Table& to, const Table& from, std::size_t row) {
    to.add_row();
    for (const std::string& column : from.columns()) to.set(column, from.at(row, column));
}

Table warmup_view(const Table& cells) {
    std::map<std::string, double> after_5;
    for (std::size_t row = 0; row < cells.row_count(); ++row)
        if (const auto mean = number_at(cells, row, "mean_time_ms");
            mean && text_at(cells, row, "warmup_steps") == "5")
            after_5[cell_without(cells, row, "warmup_steps")] = *mean;
    Table table;
    for (const std::string& column : columns_of(View::warmup)) table.add_column(column);
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        copy_row(table, cells, row);
        const auto mean = number_at(cells, row, "mean_time_ms");
        const auto reference = after_5.find(cell_without(cells, row, "warmup_steps"));
        if (!mean || reference == after_5.end()) continue;
        table.set("difference_to_5_warmup_ms", *mean - reference->second);
        table.set("difference_to_5_warmup_percent", 100 * (*mean / reference->second - 1));
    }
    return table;
}

Table phases_view(const Table& cells) {
    Table table;
    for (const std::string& column : columns_of(View::phases)) table.add_column(column);
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        if (text_at(cells, row, "pass_type") != "forward_backward") continue;
        copy_row(table, cells, row);
        const auto forward = number_at(cells, row, "forward_mean_ms");
        const auto backward = number_at(cells, row, "backward_mean_ms");
        if (!forward || !backward) continue;
        table.set("total_mean_ms", *forward + *backward);
        table.set("backward_forward_ratio", *backward / *forward);
    }
    return table;
}

}  // namespace

bool is_own_column(std::string_view name) {
    bool is_field = false;
    const Cell defaults;
    for_each_field(defaults, [&](const Field& field, const auto&) {
        is_field = is_field || field.name == name;
    });
    return is_field || name == "key" || is_in(first_columns, name) || is_in(figure_columns, name) ||
           is_in(worker_columns, name) || is_in(view_columns, name);
}

Table make_cells_table(const std::vector<PlannedCell>& plan, const Journal& journal) {
    const Setting latest = journal.setting() ? *journal.setting() : Setting{};
    Table table;
    for (const std::string_view column : first_columns) table.add_column(column);
    table.add_column("key");
    const Cell defaults;
    for_each_field(defaults,
                   [&](const Field& field, const auto&) { table.add_column(field.name); });
    for (const PlannedCell& planned : plan)
        for (const auto& axis : planned.cell.custom) table.add_column(axis.first);
    for (const std::string_view column : figure_columns) table.add_column(column);
    for (const std::string_view column : worker_columns) table.add_column(column);
    for (const PlannedCell& planned : plan) {
        const CellHistory& history = journal.history(planned.key);
        const Outcome outcome = shown_outcome(history);
        const Attempt* const attempt = history.recorded ? &*history.recorded
                                       : history.last   ? &*history.last
                                                        : nullptr;
        const Setting& setting = attempt ? journal.setting_of(*attempt) : latest;
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
             figures(cell, outcome.measurement, attainable_tflops(journal, attempt, cell)))
            table.set(name, value_of(figure));
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
            if (const WorkerRecord* worker = journal.worker(attempt->token))
                table.set("gpu_uuid", worker->gpu_uuid);
            table.set("started_at", format_utc(attempt->start_ms));
            table.set("elapsed_ms", attempt->elapsed_ms);
            if (attempt->number > 0) table.set("attempt", std::int64_t{attempt->number});
        }
        table.set("fallback_of", planned.fallback_of);
        table.set("fallback_key", planned.fallback_key);
        if (outcome.status == Status::skipped) table.set("witness", witness_of(outcome));
        // Another worker is asked for a cell over the protocol alone; it has no Torch, most often.
        if (cell.custom.empty() && setting.torch != "") table.set("command", command_by_hand(cell));
        set_scalars(table, outcome.measurement, cell);
        set_scalars(table, outcome.error, cell);
    }
    return table;
}

Table apply_view(const Table& cells, View view) {
    switch (view) {
        case View::cells:
            return cells.with_first(columns_of(view));
        case View::warmup:
            return warmup_view(cells);
        case View::phases:
            return phases_view(cells);
    }
    return cells;
}

std::vector<ShownColumn> shown_columns(View view, const Table& table) {
    const std::vector<ShownColumn> times = {
        {"mean_time_ms", "mean ms"}, {"std_time_ms", "std ms"}, {"cv_percent", "cv %", 2}};
    std::vector<ShownColumn> shown = {{"model_size", "size"},
                                      {"context_length", "context"},
                                      {"batch_size", "batch"},
                                      {"pass_type", "pass"}};
    const auto add = [&](const std::vector<ShownColumn>& columns) {
        shown.insert(shown.end(), columns.begin(), columns.end());
    };
    const std::size_t first_own = shown.size();
    for (const std::string& column : axis_columns(table)) {
        const bool known = std::any_of(shown.begin(), shown.end(), [&](const ShownColumn& one) {
            return one.column == column;
        });
        if (!known && varies(table, column))
            shown.push_back({column, replace_all(column, '_', ' ')});
    }
    switch (view) {
        case View::cells:
            add({{"num_params", "parameters"}});
            add(times);
            add({{"tokens_per_s", "tokens/s", 0}, {"peak_allocated_bytes", "peak bytes"}});
            break;
        case View::warmup:
            shown.erase(
                std::remove_if(shown.begin() + static_cast<std::ptrdiff_t>(first_own), shown.end(),
                               [](const ShownColumn& one) { return one.column == "warmup_steps"; }),
                shown.end());
            add({{"warmup_steps", "warm-up"}});
            add(times);
            add({{"difference_to_5_warmup_ms", "to 5, ms"},
                 {"difference_to_5_warmup_percent", "to 5, %", 2}});
            break;
        case View::phases:
            add({{"num_params", "parameters"},
                 {"forward_mean_ms", "forward ms"},
                 {"forward_std_ms", "std"},
                 {"backward_mean_ms", "backward ms"},
                 {"backward_std_ms", "std"},
                 {"total_mean_ms", "total ms"},
                 {"backward_forward_ratio", "bwd/fwd", 2}});
            break;
    }
    add({{"status", "status"}, {"flags", "flags"}, {"error", "error"}});
    return shown;
}

}  // namespace isosweep
