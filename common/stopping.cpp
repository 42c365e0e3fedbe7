#include <isosweep/statistics.h>
#include <isosweep/stopping.h>

#include <cmath>

namespace isosweep {
namespace {

constexpr std::size_t window = 3;  // steps that are compared with as many before them
constexpr double tolerance = 0.01;

}  // namespace

bool warmup_is_steady(std::span<const double> warmup_ms,
                      std::span<const std::int64_t> device_allocs, double elapsed_ms) {
    if (warmup_ms.size() < 2 * window || elapsed_ms < 500) return false;
    if (!device_allocs.empty()) {
        // The count behind the step before the window is what it started with.
        if (device_allocs.size() <= window) return false;
        if (device_allocs.back() != device_allocs[device_allocs.size() - 1 - window]) return false;
    }
    const auto steps = warmup_ms.last(2 * window);
    const double before = summarize(steps.first(window))->median;
    const double last = summarize(steps.last(window))->median;
    return std::abs(last - before) <= tolerance * before;
}

bool warmup_must_stop(std::span<const double> warmup_ms, double elapsed_ms) {
    return warmup_ms.size() >= 50 || elapsed_ms >= 30e3;
}

std::optional<StopReason> should_stop(std::span<const double> samples_ms, double elapsed_ms) {
    if (samples_ms.size() >= 10 && elapsed_ms >= 2e3)
        if (const auto width = relative_half_width(samples_ms); width && *width <= tolerance)
            return StopReason::converged;
    if (samples_ms.size() >= 200) return StopReason::step_cap;
    if (elapsed_ms >= 60e3) return StopReason::time_cap;
    return std::nullopt;
}

}  // namespace isosweep
