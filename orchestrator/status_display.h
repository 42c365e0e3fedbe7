#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "orchestrator/journal.h"
#include "orchestrator/plan.h"

namespace isosweep {

/// Shows a person on stderr how a sweep goes. Passive: it is told.
class StatusDisplay {
  public:
    virtual ~StatusDisplay() = default;

    /// `total` cells are planned; `left` will be run now.
    virtual void begin(std::size_t total, const std::vector<PlannedCell>& left) = 0;
    /// One more cell was planned.
    virtual void cell_added(const PlannedCell& cell) = 0;
    virtual void cell_started(const PlannedCell& cell, int slot, int attempt) = 0;
    virtual void cell_phase(int slot, std::string_view phase) = 0;
    /// An attempt has ended and is in the journal.
    virtual void cell_ended(const PlannedCell& cell, int slot, const Attempt& attempt) = 0;
    /// A line that is none of its own.
    virtual void print(const std::string& line) = 0;
    /// About once a second, where `wants_ticks`.
    virtual void tick() {}
    virtual bool wants_ticks() const { return false; }
    virtual void end() {}
};

/// One live line on a terminal, with colours unless NO_COLOR is set; elsewhere one line per cell.
std::unique_ptr<StatusDisplay> make_status_display();

/// Whether this descriptor is a terminal on which lines can be drawn anew.
bool is_live_terminal(int descriptor);

/// Whether colours are wanted on this descriptor: a terminal, and no NO_COLOR in the environment.
bool wants_colour(int descriptor);

}  // namespace isosweep
