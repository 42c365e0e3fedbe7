#include "orchestrator/checks.h"

#include <isosweep/figures.h>
#include <isosweep/flops.h>
#include <isosweep/gpu_peak.h>
#include <isosweep/least_squares.h>
#include <isosweep/statistics.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>

#include "orchestrator/canary.h"

namespace isosweep {
namespace json = boost::json;
namespace {

/// What the checks take of a series of samples.
struct Times {
    double mean = 0;
    double median = 0;
    std::optional<std::pair<double, double>> median_ci;
};

std::optional<Times> times_of(const json::object& holder, std::string_view name) {
    const auto statistics = summarize(holder, name);
    if (!statistics) return std::nullopt;
    return Times{statistics->mean, statistics->median, statistics->median_ci};
}

/// What is kept of a row: of a large sweep they are many.
struct Row {
    Cell cell;
    std::optional<double> canary_ratio;
    Times time;
    std::optional<Times> forward;
    std::optional<Times> backward;
    std::optional<Times> optimizer;
    double phases_mean_ms = 0;  ///< of all phases together
    std::string gpu;            ///< its name; empty on a CPU
    bool is_host_bound = false;
    bool is_device_time = false;  ///< the device's own: on a CPU, or known to be bound by the GPU
    bool is_own_model = false;    ///< the measured model is the cell's
};

std::string device_name(const json::object& measurement) {
    const json::value* const name = measurement.if_contains("device_name");
    return name && name->is_string() ? std::string(name->get_string()) : std::string();
}

std::optional<Row> row_of(CheckedRow checked) {
    const json::object& measurement = checked.measurement;
    const auto time = times_of(measurement, "samples_ms");
    if (!time) return std::nullopt;
    Row row;
    row.canary_ratio = checked.canary_ratio;
    row.time = *time;
    if (const json::value* const phases = measurement.if_contains("phases_ms");
        phases && phases->is_object()) {
        const json::object& all = phases->get_object();
        row.forward = times_of(all, "forward");
        row.backward = times_of(all, "backward");
        row.optimizer = times_of(all, "optimizer");
        for (const auto& phase : all)
            if (const auto times = times_of(all, phase.key())) row.phases_mean_ms += times->mean;
    }
    const auto regime = find_regime(checked.cell, measurement);
    const bool on_cpu = checked.cell.device == Device::cpu;
    if (!on_cpu) row.gpu = device_name(measurement);
    row.is_host_bound = regime == Regime::host_bound;
    row.is_device_time = checked.cell.sync && (on_cpu || regime == Regime::gpu_bound);
    row.is_own_model = is_model_of_cell(checked.cell, measurement);
    row.cell = std::move(checked.cell);
    return row;
}

double percent_above(double value, double reference) { return 100 * (value / reference - 1); }

/// Finds the row that does less of the same step.
class Nesting {
  public:
    explicit Nesting(const std::vector<std::optional<Row>>& rows) {
        const bool all_forward = std::all_of(rows.begin(), rows.end(), [](const auto& row) {
            return !row || row->cell.pass_type == PassType::forward;
        });
        if (all_forward) return;  // nobody will ask
        for (const auto& row : rows) {
            if (!row) continue;
            const Cell& cell = row->cell;
            if (cell.pass_type == PassType::forward) forwards_.emplace(forward_of(cell), &*row);
            if (cell.pass_type == PassType::forward_backward)
                backwards_.emplace(backward_of(cell), &*row);
        }
    }

    const Row* forward(const Cell& cell) const {
        if (cell.pass_type == PassType::forward) return nullptr;
        return find(forwards_, forward_of(cell));
    }
    /// The cell with the largest part of a step that is not all of it.
    const Row* next_less(const Cell& cell) const {
        if (cell.pass_type == PassType::train_step)
            if (const Row* const row = find(backwards_, backward_of(cell))) return row;
        return forward(cell);
    }

  private:
    using Rows = std::unordered_map<std::string, const Row*>;
    static const Row* find(const Rows& rows, const std::string& key) {
        const auto found = rows.find(key);
        return found == rows.end() ? nullptr : found->second;
    }
    /// Keys of the cells that do less of the same.
    static std::string backward_of(Cell cell) {
        cell.pass_type = PassType::forward_backward;
        return key_of(cell);
    }
    static std::string forward_of(Cell cell) {
        cell.pass_type = PassType::forward;
        cell.activation_checkpointing = false;  // a forward pass alone has nothing to checkpoint
        return key_of(cell);
    }
    Rows forwards_;
    Rows backwards_;
};

constexpr double tolerance_percent = 5;

/// Whether a time is less than another by more than so many percent, and by more than chance: the
/// intervals of the medians, where there are some, do not overlap.
bool is_less(const Times& time, const Times& other, double percent) {
    if (percent_above(time.median, other.median) >= -percent) return false;
    return !time.median_ci || !other.median_ci || time.median_ci->second < other.median_ci->first;
}

void check_phases(const Row& row, RowChecks& checks) {
    if (!row.cell.sync || !row.forward || !row.backward) return;
    checks.phases_sum_percent = percent_above(row.phases_mean_ms, row.time.mean);
    if (row.is_device_time && std::abs(*checks.phases_sum_percent) > tolerance_percent)
        checks.flags.emplace_back("phases_sum");

    // Each product of the forward pass has two in the backward pass: of its gradients by either
    // factor. Checkpointing does the forward pass once more there.
    const double flop_ratio = row.cell.activation_checkpointing ? 3 : 2;
    checks.backward_ratio_percent =
        percent_above(row.backward->median / row.forward->median, flop_ratio);
    // It is no identity: memory and small shapes count, too. On a CPU so does starting operations.
    const bool is_far_off =
        *checks.backward_ratio_percent < -50 || *checks.backward_ratio_percent > 100;
    if (row.is_device_time && !row.gpu.empty() && is_far_off)
        checks.flags.emplace_back("backward_ratio");
}

void check_optimizer(const Row& row, RowChecks& checks) {
    // AdamW reads a parameter, its gradient and two moments, and writes all but the gradient.
    constexpr double bytes_per_parameter = 28;
    const auto peak = datasheet_gb_per_s(row.gpu);
    if (!row.cell.sync || !row.optimizer || !peak || !row.is_own_model) return;
    const double bytes =
        bytes_per_parameter * static_cast<double>(num_params(model_config(row.cell)));
    checks.optimizer_bandwidth_percent = 100 * bytes / 1e6 / row.optimizer->median / *peak;
    if (*checks.optimizer_bandwidth_percent > 100 + tolerance_percent)
        checks.flags.emplace_back("optimizer_floor");
}

void check_nesting(const Row& row, const Nesting& nesting, RowChecks& checks) {
    if (!row.cell.sync) return;
    const std::optional<Times>& phase = row.forward;
    if (const Row* const forward = nesting.forward(row.cell); forward && phase) {
        checks.nested_forward_percent = percent_above(phase->median, forward->time.median);
        // With gradients it may well take longer: more is kept.
        if (row.is_device_time && forward->is_device_time &&
            is_less(*phase, forward->time, tolerance_percent))
            checks.flags.emplace_back("nested_forward");
    }
    if (const Row* const less = nesting.next_less(row.cell)) {
        constexpr double repeats_percent = 1;  // two processes differ by less
        checks.nested_step_percent = percent_above(row.time.median, less->time.median);
        if (row.is_device_time && less->is_device_time &&
            is_less(row.time, less->time, repeats_percent))
            checks.flags.emplace_back("nested_step");
    }
}

/// What a row's time is fitted to: layers, TFLOP of the linear layers and of the attention, and GB
/// of memory traffic, each times a cost in milliseconds.
Terms fit_terms_of(const Cell& cell) {
    const ModelConfig config = model_config(cell);
    const ForwardFlops flops = forward_flops(config, cell.batch_size, cell.context_length);
    const double passes = cell.pass_type == PassType::forward ? 1
                          : cell.activation_checkpointing     ? 4
                                                              : 3;
    const auto number = [](std::int64_t value) { return static_cast<double>(value); };
    const double parameters = number(num_params(config));
    const double tokens = number(cell.batch_size) * number(cell.context_length);
    // Of each token a block reads or writes about 12 rows of its width and 4 of its inner width
    // (two norms, four projections, rotary positions, two sums; three products and an activation),
    // and as the course writes attention, each score about 12 times: product, scale, mask, the
    // parts of the softmax, product.
    const double scores = cell.kernels == Kernels::fused
                              ? 0
                              : 12 * number(config.num_heads) * number(cell.context_length);
    const double activations =
        tokens * (number(config.num_layers) *
                      (12 * number(config.d_model) + 4 * number(config.d_ff) + scores) +
                  number(config.vocab_size));
    constexpr double element_bytes = 4;
    constexpr double optimizer_bytes = 28;
    double bytes = passes * element_bytes * (parameters + activations);
    if (cell.pass_type == PassType::train_step) bytes += optimizer_bytes * parameters;
    return {number(config.num_layers) + 1, passes * flops.linear / 1e12,
            passes * flops.attention / 1e12, bytes / 1e9};
}

/// Equal for rows whose times follow from the same costs.
std::string costs_of(const Row& row) {
    const Cell& cell = row.cell;
    std::string text = row.gpu + "\n" + to_text(cell.device) + "\n" + to_text(cell.precision) +
                       "\n" + to_text(cell.kernels) + "\n" + to_text(cell.cuda_graph) + "\n" +
                       to_text(cell.activation_checkpointing) + "\n" + to_text(cell.pass_type);
    for (const auto& [name, value] : cell.custom) text += "\n" + name + "=" + to_text(value);
    return text;
}

/// Whether there are enough different cells: repetitions of one tell nothing of its costs.
bool suffices(const std::vector<Observation>& observations) {
    constexpr std::size_t fewest = 8;
    static_assert(fewest > fit_terms + 3);
    std::set<Terms> different;
    for (const Observation& one : observations) {
        different.insert(one.terms);
        if (different.size() >= fewest) return true;
    }
    return false;
}

/// What the terms cost at least: no rate is above the GPU's datasheet, where it is known.
Terms least_costs(const Row& row) {
    Terms least{};
    if (const auto tflops = datasheet_tflops(row.gpu, row.cell.precision))
        least[1] = least[2] = 1e3 / *tflops;
    if (const auto gb_per_s = datasheet_gb_per_s(row.gpu)) least[3] = 1e3 / *gb_per_s;
    return least;
}

PhysicsFit describe_fit(const RobustFit& fit, const Terms& least) {
    // Each cost is in milliseconds for one unit of its term, so its reciprocal is a rate.
    const auto rate = [&](std::size_t term) -> std::optional<double> {
        if (fit.coefficients[term] <= least[term]) return std::nullopt;
        return 1e3 / fit.coefficients[term];
    };
    PhysicsFit found;
    found.rows = fit.residuals.size();
    found.sigma_percent = 100 * fit.sigma;
    if (fit.coefficients[0] > 0) found.layer_us = 1e3 * fit.coefficients[0];
    found.linear_tflops = rate(1);
    found.attention_tflops = rate(2);
    found.memory_gb_per_s = rate(3);
    return found;
}

void check_fit(const std::vector<std::optional<Row>>& rows, std::vector<RowChecks>& checks) {
    std::map<std::string, std::vector<std::size_t>> groups;
    for (std::size_t i = 0; i < rows.size(); ++i)
        // The host's pace is not a cost of what a step computes.
        if (rows[i] && rows[i]->is_own_model && rows[i]->cell.sync && !rows[i]->is_host_bound)
            groups[costs_of(*rows[i])].push_back(i);
    for (const auto& [costs, members] : groups) {
        std::vector<Observation> observations;
        for (const std::size_t i : members)
            observations.push_back({fit_terms_of(rows[i]->cell), rows[i]->time.median});
        if (!suffices(observations)) continue;
        const Terms least = least_costs(*rows[members.front()]);
        const auto fit = fit_robustly(observations, least);
        if (!fit) continue;
        // Sizes and shapes differ in how well they use a device: so much is usual.
        constexpr double usual_percent = 10;
        const auto found = std::make_shared<const PhysicsFit>(describe_fit(*fit, least));
        const double limit = std::max(usual_percent, 3 * found->sigma_percent);
        for (std::size_t k = 0; k < members.size(); ++k) {
            RowChecks& row = checks[members[k]];
            row.fit = found;
            row.fit_residual_percent = 100 * fit->residuals[k];
            if (rows[members[k]]->is_device_time && std::abs(*row.fit_residual_percent) > limit)
                row.flags.emplace_back("off_fit");
        }
    }
}

}  // namespace

std::vector<RowChecks> check_rows(std::size_t count, const ReadRow& read) {
    std::vector<std::optional<Row>> rows(count);
    for (std::size_t i = 0; i < count; ++i)
        if (auto checked = read(i)) rows[i] = row_of(std::move(*checked));
    const Nesting nesting(rows);
    std::vector<RowChecks> checks(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!rows[i]) continue;
        checks[i].canary_ratio = rows[i]->canary_ratio;
        if (checks[i].canary_ratio && is_drift(*checks[i].canary_ratio))
            checks[i].flags.emplace_back("drift");
        check_phases(*rows[i], checks[i]);
        check_optimizer(*rows[i], checks[i]);
        check_nesting(*rows[i], nesting, checks[i]);
    }
    check_fit(rows, checks);
    return checks;
}

std::optional<CheckedRow> checked_row(const PlannedCell& row, const Journal& journal,
                                      json::object measurement) {
    const auto& recorded = journal.history(row.key).recorded;
    if (!recorded || recorded->status != Status::ok) return std::nullopt;
    const auto device = from_name<Device>(journal.setting_of(*recorded).device);
    return CheckedRow{on_device(row.cell, device.value_or(Device::cpu)), std::move(measurement),
                      canary_ratio(journal, *recorded)};
}

std::vector<RowChecks> check_sweep(const std::vector<PlannedCell>& rows, const Journal& journal) {
    return check_rows(rows.size(), [&](std::size_t row) -> std::optional<CheckedRow> {
        const auto& recorded = journal.history(rows[row].key).recorded;
        if (!recorded) return std::nullopt;
        return checked_row(rows[row], journal, journal.attempt(*recorded).outcome.measurement);
    });
}

void set_checks(Table& table, const RowChecks& checks) {
    const auto set = [&](std::string_view column, const std::optional<double>& number) {
        if (number && std::isfinite(*number)) table.set(column, *number);
    };
    set("canary_ratio", checks.canary_ratio);
    set("fit_residual_percent", checks.fit_residual_percent);
    set("phases_sum_percent", checks.phases_sum_percent);
    set("nested_forward_percent", checks.nested_forward_percent);
    set("nested_step_percent", checks.nested_step_percent);
    set("backward_ratio_percent", checks.backward_ratio_percent);
    set("optimizer_bandwidth_percent", checks.optimizer_bandwidth_percent);
    if (checks.fit) {
        table.set("fit_rows", static_cast<std::int64_t>(checks.fit->rows));
        table.set("fit_sigma_percent", checks.fit->sigma_percent);
        set("fit_layer_us", checks.fit->layer_us);
        set("fit_linear_tflops", checks.fit->linear_tflops);
        set("fit_attention_tflops", checks.fit->attention_tflops);
        set("fit_memory_gb_per_s", checks.fit->memory_gb_per_s);
    }
    table.set("check_flags", join(checks.flags, " "));
}

}  // namespace isosweep
