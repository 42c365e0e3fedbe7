#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Where the time of one step goes, from what a profiler saw of it. Knows no Torch.
namespace isosweep {

/// Something that a profiler saw.
struct ProfileEvent {
    enum class Kind {
        operation,      ///< on the host: "aten::mm"
        backward_node,  ///< on the host: what the backward pass runs for an operation,
                        ///< "MmBackward0"
        region,         ///< on the host: see Region
        kernel,         ///< on the GPU
        memory,         ///< on the GPU: a copy or a set
    };
    static constexpr std::int64_t no_sequence = -1;

    Kind kind = Kind::operation;
    std::string name;
    std::int64_t start_ns = 0;
    std::int64_t end_ns = 0;
    std::uint64_t thread = 0;       ///< on the host
    std::uint64_t correlation = 0;  ///< of an operation: its number; on the GPU: its operation's
    /// Joins an operation (the last one on its thread with this number) to its backward nodes.
    std::int64_t sequence = no_sequence;
    std::uint64_t forward_thread = 0;  ///< of a backward node: the operation's thread
};

/// The region that spans the step, from before its first operation until the device is done.
constexpr std::string_view step_region = "step";

/// What kind of work time is spent on, as the table lists it.
enum class WorkGroup {
    matrix_products,
    attention,
    softmax,
    normalisation,
    rotary,
    elementwise,
    embedding,
    loss,
    optimizer,
    memory,
    gaps
};
constexpr std::size_t num_work_groups = 11;

std::string_view name_of(WorkGroup group);

/// A step's time by what it was spent on.
struct Breakdown {
    struct Part {
        WorkGroup group{};
        double ms = 0;
        std::int64_t count = 0;  ///< of kernels, copies and sets; on a CPU, of operations
    };
    std::vector<Part> parts;  ///< in the order of WorkGroup, without those where nothing was

    /// The step, if the profiler missed nothing.
    double sum_ms() const;
};

/// Breaks down the last step in `events`.
///
/// On a GPU, time belongs to the kernels, copies and sets that run; where several run side by side
/// they share it. On a CPU it belongs to the innermost operation that runs. What no one has is
/// gaps. The group is the operation's, by its name; else that of the innermost region around it
/// (around the forward operation, in the backward pass); else `memory` for copies, casts and sets,
/// and `elementwise`.
///
/// \throws std::runtime_error where there is no step, or nothing ran in it
Breakdown break_down(std::span<const ProfileEvent> events, bool on_gpu);

/// {"groups": [{"group": "softmax", "ms": 1.5, "count": 12}, ...], "sum_ms": 9.3}
boost::json::object to_json(const Breakdown& breakdown);

}  // namespace isosweep
