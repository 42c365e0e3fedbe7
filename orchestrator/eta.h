#pragma once

#include <isosweep/cell.h>

#include <cstddef>
#include <optional>

namespace isosweep {

/// Proportional to the arithmetic of all steps of a cell: a backward pass counts twice a forward.
double work_of(const Cell& cell);

/// Predicts how long cells take from what others took: time = a + b * work, fitted by least squares
/// over the cells so far, with work the arithmetic of a cell's steps up to a factor. Adding and
/// asking cost the same however many cells there are.
class EtaEstimator {
  public:
    /// A cell took so long, start-up included.
    void add_finished(const Cell& cell, double milliseconds);
    void add_left(const Cell& cell);
    void remove_left(const Cell& cell);

    /// Time for all cells left, one after another; absent before the first finished one.
    std::optional<double> left_ms() const;

  private:
    double n_ = 0;
    double sum_work_ = 0;
    double sum_work2_ = 0;
    double sum_ms_ = 0;
    double sum_work_ms_ = 0;
    std::size_t left_ = 0;
    double left_work_ = 0;
};

}  // namespace isosweep
