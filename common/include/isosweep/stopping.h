#pragma once

#include <isosweep/text.h>

#include <cstdint>
#include <optional>
#include <span>

/// When to stop where the number of steps is left to a rule ("auto"). Times are milliseconds;
/// `elapsed_ms` is the sum of the steps' times so far.
namespace isosweep {

/// Whether warming up has done its work: at least 6 steps and 0.5 s, no allocation from the device
/// in the last 3 steps, and their median within 1 % of that of the 3 before.
/// `device_allocs` has the allocator's count of them behind each step; empty where it is not known.
bool warmup_is_steady(std::span<const double> warmup_ms,
                      std::span<const std::int64_t> device_allocs, double elapsed_ms);

/// Whether warming up ends without being steady: after 50 steps or 30 s.
bool warmup_must_stop(std::span<const double> warmup_ms, double elapsed_ms);

/// Why no more steps are measured.
enum class StopReason {
    converged,  ///< the median is known to 1 %
    step_cap,   ///< 200 steps
    time_cap,   ///< 60 s
};
template <>
struct EnumNames<StopReason> {
    static constexpr std::pair<StopReason, std::string_view> value[] = {
        {StopReason::converged, "converged"},
        {StopReason::step_cap, "step_cap"},
        {StopReason::time_cap, "time_cap"}};
};

/// Whether measuring ends here: converged after at least 10 steps and 2 s once
/// `relative_half_width` is at most 1 %, else at a cap; absent to go on. Looking after each step
/// costs a 95 % interval about 5 % of its coverage at 3 steps, and nearly nothing from 10 on.
std::optional<StopReason> should_stop(std::span<const double> samples_ms, double elapsed_ms);

}  // namespace isosweep
