#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/fallback.h"
#include "orchestrator/files.h"
#include "orchestrator/journal.h"
#include "orchestrator/machine.h"
#include "orchestrator/options.h"
#include "orchestrator/plan.h"
#include "orchestrator/scheduler.h"

namespace isosweep {

/// A row of the CSV that is to be looked at.
struct FlaggedRow {
    std::size_t row = 0;
    std::string flags;  ///< with spaces between them
};

/// A sweep with its output: lock, journal, plan. Making one takes the lock and checks that the
/// journal, where there is one, is of the same setting.
class Sweep {
  public:
    /// \throws Failure
    explicit Sweep(Options options);

    const Options& options() const { return options_; }
    const Journal& journal() const { return *journal_; }
    /// The cells of the CSV's rows: the plan's, then those that followed from them.
    const std::vector<PlannedCell>& rows() const { return rows_.empty() ? plan_ : rows_; }
    /// Those that are ok and yet carry flags, of their own or by the checks, as in the last CSV.
    const std::vector<FlaggedRow>& flagged() const { return flagged_; }

    std::vector<PlannedCell> cells_missing() const;
    std::vector<PlannedCell> cells_with(const std::vector<Status>& statuses) const;
    std::size_t cells_outside_plan() const;

    /// Runs cells of the rows, and those that follow from them by the sweep's rule, and keeps the
    /// CSV up to date. \throws Failure
    SweepEnd run(std::vector<PlannedCell> cells);

    /// Gives the output free before the object goes.
    void let_go();

  private:
    /// Checks that the journal's setting is `now`, or that another is allowed, and notes it there.
    /// \returns what `device` means in this sweep
    DeviceChoice go_on_with(Setting now);
    /// From here on cells that are foreseen not to fit are skipped. `earlier` is learned from, too.
    void keep_to_what_fits(const std::optional<Journal>& earlier);
    std::vector<PlannedCell> in_running_order(std::vector<PlannedCell> cells) const;
    /// Brings the rows up to date with what has followed from the outcomes so far.
    void follow_journal();
    void keep_repro(const PlannedCell& planned, Status status, std::string_view token) const;
    /// The last resort where the disk fails: tells on stderr what may not be on it.
    void save_what_can_be();
    void write_csv();

    Options options_;
    std::vector<PlannedCell> plan_;
    std::vector<PlannedCell> rows_;  ///< empty where nothing can follow from the plan's
    std::vector<FlaggedRow> flagged_;
    FallbackRule rule_;
    std::vector<Gpu> gpus_;
    SweepSettings settings_;
    std::unique_ptr<OutputLock> lock_;
    std::unique_ptr<Journal> journal_;
};

/// Runs the planned cell `options.only` in the foreground: the worker's stderr goes to the
/// terminal, nothing is recorded. Prints the outcome. \returns the exit code
int run_only(const Options& options);

}  // namespace isosweep
