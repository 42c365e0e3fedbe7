#pragma once

#include <isosweep/cell.h>
#include <isosweep/transformer.h>

#include <stdexcept>
#include <string>

namespace isosweep {

/// A cell that cannot be, with the reason.
class Unsupported : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Why this worker cannot run such a cell, or empty. Does not look at the machine.
std::string unsupported_reason(const Cell& cell);

/// The device that a cell runs on. \throws Unsupported, and std::runtime_error where the GPU that
/// it asks for is not there
torch::Device device_of(const Cell& cell);

/// Makes the GPU as if no cell had been there, with a context and the cell's limit of memory;
/// nothing on the CPU. What a cell leaves is given back here and not when it ends: most workers end
/// with it, and the driver takes all of a process at once in less time.
void enter_device(const Cell& cell, torch::Device device);

/// A cell's model and batch, from its seed. Where a graph of fused kernels will be captured, what
/// its products and its attention load is loaded beside.
struct CellSetup {
    Transformer model;
    torch::Tensor ids;  ///< [batch, context]
};
CellSetup build_cell(const Cell& cell, torch::Device device);

}  // namespace isosweep
