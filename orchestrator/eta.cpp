#include "orchestrator/eta.h"

#include <algorithm>

namespace isosweep {

double work_of(const Cell& cell) {
    const double passes = cell.pass_type == PassType::forward ? 1 : 3;
    const double tokens = static_cast<double>(cell.batch_size * cell.context_length);
    // "auto" takes about as many steps as usual, or two seconds.
    const auto count = [](const StepCount& steps, std::int64_t usual) {
        return steps.is_automatic() ? usual : steps.steps;
    };
    const double steps =
        static_cast<double>(count(cell.warmup_steps, 5) + count(cell.measure_steps, 20));
    return 1e-12 * static_cast<double>(num_params(model_config(cell))) * tokens * passes * steps;
}

void EtaEstimator::add_finished(const Cell& cell, double milliseconds) {
    const double work = work_of(cell);
    n_ += 1;
    sum_work_ += work;
    sum_work2_ += work * work;
    sum_ms_ += milliseconds;
    sum_work_ms_ += work * milliseconds;
}

void EtaEstimator::add_left(const Cell& cell) {
    ++left_;
    left_work_ += work_of(cell);
}

void EtaEstimator::remove_left(const Cell& cell) {
    --left_;
    left_work_ -= work_of(cell);
}

std::optional<double> EtaEstimator::left_ms() const {
    if (n_ == 0) return std::nullopt;
    const double spread = n_ * sum_work2_ - sum_work_ * sum_work_;
    double slope = 0;
    if (spread > 1e-9 * n_ * sum_work2_)
        slope = std::max(0.0, (n_ * sum_work_ms_ - sum_work_ * sum_ms_) / spread);
    double base = (sum_ms_ - slope * sum_work_) / n_;
    if (base < 0) {  // through the origin, then
        base = 0;
        slope = sum_work_ms_ / sum_work2_;
    }
    return std::max(0.0, base * static_cast<double>(left_) + slope * std::max(0.0, left_work_));
}

}  // namespace isosweep
