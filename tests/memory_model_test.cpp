#include <doctest/doctest.h>
#include <isosweep/memory_model.h>

#include <algorithm>
#include <cmath>

#include "measured_cells.h"

using namespace isosweep;
using isosweep::tests::measured_cells;
using isosweep::tests::MeasuredCell;

namespace {

double error_percent(double predicted, double measured) { return 100 * (predicted / measured - 1); }

Cell small(PassType pass_type, Precision precision, Kernels kernels) {
    Cell cell;
    cell.pass_type = pass_type;
    cell.precision = precision;
    cell.kernels = kernels;
    return cell;
}

}  // namespace

TEST_CASE(
    "predicted peaks are within 4 % of every one measured on an H200, within 1.2 % above 4 GiB") {
    int compared = 0;
    for (const MeasuredCell& measured : measured_cells()) {
        ++compared;
        CAPTURE(measured.sweep + ": " + describe(measured.cell));
        const double error = error_percent(
            static_cast<double>(predict_memory(measured.cell).peak()), measured.peak_bytes);
        CHECK(std::abs(error) < 4);
        if (measured.peak_bytes > 0x1p32) CHECK(std::abs(error) < 1.2);
    }
    CHECK(compared == 176);
}

TEST_CASE("predicted parts are those of the ledger") {
    // Rounding of large tensors to whole blocks is in ours; 64 MiB of cuBLAS may be in theirs or
    // not, since it is taken once.
    const auto is_close = [](std::int64_t part, double ledger) {
        return std::abs(static_cast<double>(part) - ledger) < 70 * 0x1p20 + 0.04 * ledger;
    };
    int compared = 0;
    int at_another_moment = 0;
    for (const MeasuredCell& measured : measured_cells()) {
        if (!measured.ledger) continue;
        ++compared;
        CAPTURE(describe(measured.cell));
        const MemoryPrediction predicted = predict_memory(measured.cell);
        const MeasuredCell::Ledger& ledger = *measured.ledger;
        CHECK(is_close(predicted.parameters, ledger.parameters));
        CHECK(is_close(predicted.optimizer, ledger.optimizer));
        CHECK(is_close(predicted.gradients + predicted.activations + predicted.workspace,
                       ledger.gradients + ledger.activations + ledger.workspace));
        // Two moments of a step may hold nearly the same, and either be the largest.
        if (!is_close(predicted.gradients, ledger.gradients) ||
            !is_close(predicted.activations, ledger.activations) ||
            !is_close(predicted.workspace, ledger.workspace))
            ++at_another_moment;
    }
    CHECK(compared == 121);
    CHECK(at_another_moment <= 6);
}

TEST_CASE("a cell that does more or is larger is not predicted to take less") {
    for (const Kernels kernels : {Kernels::reference, Kernels::fused})
        for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
            std::int64_t before = 0;
            for (const PassType pass :
                 {PassType::forward, PassType::forward_backward, PassType::train_step}) {
                Cell cell = small(pass, precision, kernels);
                const std::int64_t peak = predict_memory(cell).peak();
                CAPTURE(describe(cell));
                CHECK(peak > before);
                before = peak;
                for (auto* dimension :
                     {&cell.context_length, &cell.batch_size, &cell.vocab_size, &cell.num_layers}) {
                    const std::int64_t old = *dimension;
                    *dimension *= 2;
                    CHECK(predict_memory(cell).peak() > peak);
                    *dimension = old;
                }
            }
        }
}

TEST_CASE("checkpointing keeps the inputs of the blocks, and one block's activations at a time") {
    for (const Kernels kernels : {Kernels::reference, Kernels::fused}) {
        Cell cell = small(PassType::forward_backward, Precision::fp32, kernels);
        const double all = static_cast<double>(predict_memory(cell).activations);
        cell.activation_checkpointing = true;
        const double one = static_cast<double>(predict_memory(cell).activations);
        const double inputs = 12.0 * 4 * 512 * 768 * 4;
        CHECK(one > inputs);
        CHECK(one < inputs + all / 10);
        // A forward pass keeps nothing either way.
        cell.pass_type = PassType::forward;
        const std::int64_t forward = predict_memory(cell).peak();
        cell.activation_checkpointing = false;
        CHECK(predict_memory(cell).peak() == forward);
    }
}

TEST_CASE("sizes beyond all memory are told as 2^60 bytes") {
    Cell cell = small(PassType::train_step, Precision::fp32, Kernels::reference);
    cell.context_length = cell.batch_size = 1LL << 40;
    const MemoryPrediction predicted = predict_memory(cell);
    CHECK(predicted.activations == 1LL << 60);
    CHECK(predicted.peak() > 0);
}
