#pragma once

#include <isosweep/cell.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/journal.h"

namespace isosweep {

/// Whether `larger` needs at least as much of the GPU's memory as `smaller`, whatever the GPU: it
/// is at least as large in every axis that a step's memory grows with, has no more room
/// (`gpu_memory_limit`), and is the same in all else but in seed, replicate and numbers of steps.
/// A pass type that does more keeps more; so does one without activation checkpointing.
bool needs_as_much_memory(const Cell& larger, const Cell& smaller);

/// A cell that ran out of the GPU's memory.
struct Witness {
    std::string key;
    Cell cell;
    std::string origin;  ///< the journal that it stands in, where that is another; else empty
};

/// What is known to lack memory, and what follows from it. Cells are as a worker gets them: their
/// device is decided (`on_device`).
class Witnesses {
  public:
    void add(Witness witness);
    /// Adds the cells of a journal that ran out of the memory of the GPU that it was last measured
    /// with.
    void add_from(const Journal& journal, const std::string& origin = {});
    /// One because of which `cell` must fail, if there is one.
    const Witness* find(const Cell& cell) const;

  private:
    std::vector<Witness> witnesses_;  ///< none of which another one of them makes needless
};

/// Reads the journal of an earlier run, with all its cells: a file, or the folder or CSV that it
/// belongs to. \throws UsageError where there is none; ResultsError
Journal read_earlier_journal(const std::filesystem::path& path);

/// The same for a sweep on `gpu`. \throws UsageError where it is of another one, too
Journal read_witness_journal(const std::filesystem::path& path, const std::string& gpu);

}  // namespace isosweep
