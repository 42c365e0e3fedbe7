#pragma once

#include <isosweep/nvml.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace isosweep {

/// Why the next worker may not start on a GPU yet.
struct Obstacle {
    enum class Kind {
        passing,    ///< it should pass by itself; if it stays, the GPU is not fit
        somebody,   ///< memory that somebody else holds, who came meanwhile
        permanent,  ///< the GPU is not fit
    };
    Kind kind = Kind::passing;
    std::string reason;  ///< for a person: "4.00 GiB of its memory are not back"
};

/// Whether a driver error (Xid) speaks of a program and not of the GPU: what a worker that crashes
/// or is killed leaves in the driver's log.
bool is_programs_fault(std::uint64_t xid);

/// What stands in the way of the next worker, comparing the GPU before the first one with what it
/// is now; absent where nothing does. `last_worker` is the process that has just ended. A pure
/// function.
std::optional<Obstacle> find_obstacle(const GpuState& before, const GpuState& now,
                                      std::int64_t last_worker);

/// Stands between two workers on a GPU: the next one starts when the GPU is as it was before the
/// first. Where the driver does not tell, it lets everybody pass.
class GpuGate {
  public:
    /// Takes the GPU as it is now for what it should be again.
    explicit GpuGate(const std::string& gpu_uuid, const char* library = nvml_library);

    /// What stands in the way now, after a worker with this process id.
    /// \param standby the worker that is to start and has a context already; 0: none
    std::optional<Obstacle> obstacle(std::int64_t last_worker, std::int64_t standby = 0);

    /// Whether there is room beside all that is on the GPU for a context and what comes with it.
    bool has_room_for_context();

    /// Takes the memory in use now for what it should be again: somebody else came.
    void accept_memory();

  private:
    GpuState look();

    GpuObserver observer_;
    GpuState before_;
    GpuState now_;
    std::vector<std::uint64_t> xids_;  ///< seen, and not yet judged
};

}  // namespace isosweep
