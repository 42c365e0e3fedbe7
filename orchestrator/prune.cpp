#include "orchestrator/prune.h"

#include <algorithm>
#include <limits>

#include "orchestrator/errors.h"

namespace isosweep {
namespace fs = std::filesystem;

bool needs_as_much_memory(const Cell& larger, const Cell& smaller) {
    const auto room = [](const Cell& cell) {
        return cell.gpu_memory_limit.bytes == 0 ? std::numeric_limits<std::int64_t>::max()
                                                : cell.gpu_memory_limit.bytes;
    };
    const bool no_smaller =
        larger.d_model >= smaller.d_model && larger.d_ff >= smaller.d_ff &&
        larger.num_layers >= smaller.num_layers && larger.num_heads >= smaller.num_heads &&
        larger.context_length >= smaller.context_length &&
        larger.batch_size >= smaller.batch_size && larger.vocab_size >= smaller.vocab_size &&
        larger.pass_type >= smaller.pass_type &&
        (!larger.activation_checkpointing || smaller.activation_checkpointing) &&
        room(larger) <= room(smaller);
    if (!no_smaller) return false;
    // Of all else nobody can say which takes more; what never matters is made equal first.
    Cell rest = smaller;
    rest.model_size = larger.model_size;
    rest.d_model = larger.d_model;
    rest.d_ff = larger.d_ff;
    rest.num_layers = larger.num_layers;
    rest.num_heads = larger.num_heads;
    rest.context_length = larger.context_length;
    rest.batch_size = larger.batch_size;
    rest.vocab_size = larger.vocab_size;
    rest.pass_type = larger.pass_type;
    rest.activation_checkpointing = larger.activation_checkpointing;
    rest.gpu_memory_limit = larger.gpu_memory_limit;
    rest.seed = larger.seed;
    rest.replicate = larger.replicate;
    rest.warmup_steps = larger.warmup_steps;
    rest.measure_steps = larger.measure_steps;
    return rest == larger;
}

void Witnesses::add(Witness witness) {
    if (find(witness.cell)) return;
    std::erase_if(witnesses_, [&](const Witness& known) {
        return needs_as_much_memory(known.cell, witness.cell);
    });
    witnesses_.push_back(std::move(witness));
}

void Witnesses::add_from(const Journal& journal, const std::string& origin) {
    for (const auto& [key, history] : journal.cells()) {
        if (!history.recorded || history.recorded->status != Status::oom_gpu ||
            journal.setting_of(*history.recorded).gpu != journal.setting()->gpu)
            continue;
        try {
            if (const auto asked = journal.asked_cell(history); !asked.empty())
                add({key, cell_from_json(asked), origin});
        } catch (const BadValue&) {  // NOLINT(bugprone-empty-catch)
            // A cell that a later version wrote is no witness to us.
        }
    }
}

const Witness* Witnesses::find(const Cell& cell) const {
    const auto found = std::find_if(
        witnesses_.begin(), witnesses_.end(),
        [&](const Witness& witness) { return needs_as_much_memory(cell, witness.cell); });
    return found == witnesses_.end() ? nullptr : &*found;
}

Journal read_earlier_journal(const fs::path& path) {
    const fs::path file = journal_file(path);
    if (!fs::is_regular_file(file))
        throw UsageError("learn-from = '" + path.string() +
                         "': expected the journal of an earlier run, as in "
                         "results/full/journal.jsonl");
    return Journal::read(file);
}

Journal read_witness_journal(const fs::path& path, const std::string& gpu) {
    Journal journal = read_earlier_journal(path);
    const std::string other = journal.setting() ? journal.setting()->gpu : std::string();
    if (other != gpu)
        throw UsageError("learn-from = '" + path.string() + "': was measured on '" + other +
                         "', this sweep is on '" + gpu +
                         "'; what lacks memory on one says nothing of another");
    return journal;
}

}  // namespace isosweep
