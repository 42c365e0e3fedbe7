#include "orchestrator/gpu_gate.h"

#include <isosweep/text.h>

#include <algorithm>
#include <array>
#include <utility>

namespace isosweep {
namespace {

/// What comes and goes without anybody's doing; a context takes more.
constexpr std::int64_t tolerated_bytes = std::int64_t{128} << 20;

/// More than a context and the code of the libraries take; half of it on an H200.
constexpr std::int64_t context_bytes = std::int64_t{1} << 30;

}  // namespace

bool is_programs_fault(std::uint64_t xid) {
    // NVIDIA's list of Xid errors: graphics engine exception, MMU fault, invalid push buffer,
    // channel error, preemptive cleanup, video processors, context switch timeout; and 63 and 92,
    // which only report that the hardware mended itself.
    constexpr std::array<std::uint64_t, 10> programs = {13, 31, 32, 43, 45, 63, 68, 69, 92, 109};
    return std::find(programs.begin(), programs.end(), xid) != programs.end();
}

std::optional<Obstacle> find_obstacle(const GpuState& before, const GpuState& now,
                                      std::int64_t last_worker) {
    using enum Obstacle::Kind;
    for (const std::uint64_t xid : now.xids)
        if (!is_programs_fault(xid))
            return Obstacle{permanent, "the driver reports Xid " + std::to_string(xid)};
    if (before.uncorrected_errors && now.uncorrected_errors > before.uncorrected_errors)
        return Obstacle{permanent,
                        "it has " +
                            std::to_string(*now.uncorrected_errors - *before.uncorrected_errors) +
                            " new uncorrected memory errors (ECC)"};
    if (before.used_bytes && !now.used_bytes) return Obstacle{passing, "it does not answer"};
    if (std::binary_search(now.pids.begin(), now.pids.end(), static_cast<unsigned>(last_worker)))
        return Obstacle{passing, "its last worker, process " + std::to_string(last_worker) +
                                     ", is still on it"};
    if (before.used_bytes && *now.used_bytes > *before.used_bytes + tolerated_bytes) {
        const std::string amount = format_bytes(*now.used_bytes - *before.used_bytes);
        for (const unsigned pid : now.pids)
            if (!std::binary_search(before.pids.begin(), before.pids.end(), pid))
                return Obstacle{somebody, "process " + std::to_string(pid) + " came and holds " +
                                              amount + " of its memory"};
        return Obstacle{passing, amount + " of its memory are not back"};
    }
    if (now.slowdown_c && now.temperature_c && *now.temperature_c >= *now.slowdown_c)
        return Obstacle{passing, "it is too hot: " + format_fixed(*now.temperature_c, 0) +
                                     " degrees of " + format_fixed(*now.slowdown_c, 0)};
    return std::nullopt;
}

GpuGate::GpuGate(const std::string& gpu_uuid, const char* library)
    : observer_(gpu_uuid, library), before_(observer_.look()) {}

std::optional<Obstacle> GpuGate::obstacle(std::int64_t last_worker, std::int64_t standby) {
    now_ = look();
    now_.xids = std::exchange(xids_, {});
    // Who was there before us and left gave room that the next worker should find again.
    if (now_.used_bytes && before_.used_bytes)
        before_.used_bytes = std::min(*before_.used_bytes, *now_.used_bytes);
    if (standby == 0) return find_obstacle(before_, now_, last_worker);
    GpuState expected = before_;
    if (expected.used_bytes) *expected.used_bytes += context_bytes;
    expected.pids.insert(std::upper_bound(expected.pids.begin(), expected.pids.end(), standby),
                         static_cast<unsigned>(standby));
    return find_obstacle(expected, now_, last_worker);
}

/// A driver error is told but once, whoever looks.
GpuState GpuGate::look() {
    GpuState state = observer_.look();
    xids_.insert(xids_.end(), state.xids.begin(), state.xids.end());
    return state;
}

bool GpuGate::has_room_for_context() {
    const auto free = look().free_bytes;
    return free && *free >= 2 * context_bytes;
}

void GpuGate::accept_memory() {
    before_.used_bytes = now_.used_bytes;
    before_.pids = now_.pids;
}

}  // namespace isosweep
