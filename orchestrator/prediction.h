#pragma once

#include <isosweep/cell.h>
#include <isosweep/memory_model.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "orchestrator/journal.h"
#include "orchestrator/options.h"
#include "orchestrator/plan.h"

namespace isosweep {

/// What a prediction rests on.
enum class PredictionBasis {
    model,     ///< what is known of our worker and of the GPU's datasheet
    learned,   ///< the model's time, times what other cells took of theirs
    measured,  ///< the same cell, measured before
};
template <>
struct EnumNames<PredictionBasis> {
    static constexpr std::pair<PredictionBasis, std::string_view> value[] = {
        {PredictionBasis::model, "model"},
        {PredictionBasis::learned, "learned"},
        {PredictionBasis::measured, "measured"}};
};

/// What is foreseen of a cell; absent where nobody can tell.
struct Prediction {
    std::optional<std::int64_t> peak_bytes;          ///< corresponds to `peak_allocated_bytes`
    std::optional<MemoryPrediction> memory;          ///< its parts, by the model
    std::optional<double> step_ms;                   ///< corresponds to `median_time_ms`
    std::optional<double> overhead_ms;               ///< of the cell, beside its steps
    std::optional<double> cell_ms;                   ///< corresponds to `elapsed_ms`
    PredictionBasis basis = PredictionBasis::model;  ///< of the time
};

/// By the model alone, a pure function: for our own worker, on a GPU by its name. `isolation` as in
/// a journal: where a worker measures several cells, each costs less beside its steps. No standby.
Prediction predict_by_model(const Cell& cell, const std::string& gpu, const std::string& isolation);

/// Foresees cells of one device, from the model and from what was measured there. Cells are as a
/// worker gets them (`on_device`).
class Predictor {
  public:
    /// `gpu` as a journal names it; empty where there is none: then all times are learned. What a
    /// standby saves of a worker's start is taken off what the model gives that start.
    Predictor(std::string gpu, std::string isolation, StandbyMode standby = StandbyMode::off);

    /// Learns from the cells of a journal that are ok and were measured on this predictor's GPU.
    /// Cells measured in another isolation tell of their steps alone.
    void learn_from(const Journal& journal);

    Prediction predict(const Cell& cell) const;

    /// Cells that it has learned from.
    std::size_t learned_cells() const { return measured_.size(); }

  private:
    struct Measured {
        double step_ms = 0;
        std::optional<std::int64_t> peak_bytes;
        std::optional<double> overhead_ms;
    };
    /// Cells of a kind by the time that the model gives them: (ln of that, ln of measured over it).
    using Ratios = std::map<double, double>;

    /// `elapsed_ms`: of the whole cell, where that says something of a start in this isolation.
    void learn(const Cell& cell, const boost::json::object& measurement,
               std::optional<double> elapsed_ms);
    double model_step_ms(const Cell& cell) const;
    std::optional<double> learned_ratio(const Cell& cell, double model_ms) const;

    std::string gpu_;
    std::string isolation_;
    StandbyMode standby_;
    std::unordered_map<std::string, Measured> measured_;  ///< by the key of the cell's essence
    std::map<int, Ratios> ratios_;                        ///< by kind, from the narrow to the wide
    std::vector<double> overheads_ms_;                    ///< sorted
};

/// Whether a cell is expected to fit.
enum class Fit {
    yes,
    tight,  ///< by less than what fragmentation may take
    no,
};
template <>
struct EnumNames<Fit> {
    static constexpr std::pair<Fit, std::string_view> value[] = {
        {Fit::yes, "yes"}, {Fit::tight, "tight"}, {Fit::no, "no"}};
};

/// What a cell's tensors may take of a GPU of `gpu_bytes`: all but what CUDA and its libraries take
/// beside them, and no more than the cell's own limit. Absent where neither is known.
std::optional<std::int64_t> available_bytes(const Cell& cell,
                                            std::optional<std::int64_t> gpu_bytes);

Fit fit_of(const Cell& cell, std::int64_t peak_bytes, std::int64_t available);

/// Decides which cells of a sweep are skipped since they are foreseen not to fit (`fitting`).
class FittingGate {
  public:
    FittingGate(Predictor predictor, std::optional<std::int64_t> gpu_bytes)
        : predictor_(std::move(predictor)), gpu_bytes_(gpu_bytes) {}

    /// The outcome of a cell that is not to be run: `skipped`, with the prediction in its message
    /// and, as an object `prediction`, in its error.
    std::optional<Outcome> obstacle(const Cell& cell) const;

  private:
    Predictor predictor_;
    std::optional<std::int64_t> gpu_bytes_;
};

}  // namespace isosweep
