#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/canary.h"
#include "orchestrator/journal.h"
#include "orchestrator/options.h"
#include "orchestrator/plan.h"
#include "orchestrator/prediction.h"
#include "orchestrator/probe.h"
#include "orchestrator/prune.h"
#include "orchestrator/slot.h"
#include "orchestrator/status_display.h"
#include "orchestrator/worker_session.h"

namespace isosweep {

/// What the scheduler needs to know of a sweep.
struct SweepSettings {
    WorkerCommand worker;
    std::vector<Slot> slots;
    Isolation isolation = Isolation::process;
    StandbyMode standby = StandbyMode::off;
    std::chrono::milliseconds gpu_timeout{};  ///< for a GPU to be as before
    RetryRule retry;
    std::optional<Witnesses> witnesses;  ///< cells that must lack memory are skipped; else none is
    std::optional<FittingGate> fitting;  ///< cells foreseen not to fit are skipped; else none is
    bool allow_mixed = false;            ///< workers of several builds may measure for one sweep
    std::optional<std::int64_t> max_failures;  ///< start no more cells when so many have failed
    Device device = Device::cpu;               ///< what `auto` and `cuda` mean
    std::filesystem::path cells_folder;        ///< KEY/attempt-N.log goes there
    bool wants_probes = false;  ///< the probes that a slot lacks are measured before its cells
    std::filesystem::path probes_folder;  ///< their logs and those of canaries go there
    boost::json::object canary;  ///< the cell that is measured between blocks; empty: none is
};

/// Why a run of the scheduler ended.
struct SweepEnd {
    int signal = 0;                  ///< the one that asked us to stop; 0: none
    bool too_many_failures = false;  ///< `max_failures` was reached
    std::string broken;              ///< why no worker can be started, or no more; else empty
};

/// Runs cells in slots until each has an outcome, or until it is told to stop. Each attempt's end
/// is written to the journal and synced before anything else hears of it.
///
/// The probes that a slot lacks come before its cells, each in a worker of its own. One that fails
/// is told, and no cell is the worse for it.
///
/// With a canary, each slot measures it before its first cell, after each block of cells and behind
/// the last, in a worker of its own. Cells that were measured while it was not what it was are run
/// again, once. A canary that fails is told, and no cell is the worse for it.
///
/// With a standby, the next worker of a slot starts beside the parts of the present one that are
/// not timed, and stands still beside those that are. It gets its job when that one is gone.
///
/// Between two workers on a GPU it waits until the GPU is as it was before the first. One that does
/// not come back is used no more; where none is left, the cells left are `not_run` with the reason.
///
/// The first SIGINT, SIGTERM or SIGHUP lets the running cells finish, the second kills them.
class Scheduler {
  public:
    struct Hooks {
        /// An outcome was recorded and is durable.
        std::function<void(const PlannedCell&, const Attempt&)> on_recorded;
        /// Soon after the begin and after that, at most once a second.
        std::function<void()> on_progress;
        /// No cell is left to start: those that follow from the outcomes so far. What this run
        /// has had already is not run again. May be absent.
        std::function<std::vector<PlannedCell>()> further_cells;
        /// Nor of those: the cells that a drift puts in doubt. May be absent.
        std::function<std::vector<DriftedCell>()> drifted_cells;
    };

    Scheduler(SweepSettings settings, Journal& journal, StatusDisplay& display, Hooks hooks);

    /// \throws Failure when the sweep cannot go on; all workers are killed then
    SweepEnd run(std::vector<PlannedCell> cells);

  private:
    class Run;
    SweepSettings settings_;
    Journal& journal_;
    StatusDisplay& display_;
    Hooks hooks_;
};

/// The environment of a worker: ours, with its token, with just its slot's GPU, and with its slot's
/// share of threads unless the user has chosen their number.
std::vector<std::string> worker_environment(const std::string& token, const Slot& slot);

/// A number nobody else has, 32 hexadecimal digits, from the kernel's random source.
std::string random_token();

}  // namespace isosweep
