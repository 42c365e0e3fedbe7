#pragma once

#include <isosweep/model_config.h>
#include <isosweep/text.h>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace isosweep {

enum class PassType { forward, forward_backward, train_step };
enum class Precision { fp32, tf32, bf16 };
enum class Kernels { reference, fused };
enum class Device { automatic, cuda, cpu };

template <>
struct EnumNames<PassType> {
    static constexpr std::pair<PassType, std::string_view> value[] = {
        {PassType::forward, "forward"},
        {PassType::forward_backward, "forward_backward"},
        {PassType::train_step, "train_step"}};
};
template <>
struct EnumNames<Precision> {
    static constexpr std::pair<Precision, std::string_view> value[] = {
        {Precision::fp32, "fp32"}, {Precision::tf32, "tf32"}, {Precision::bf16, "bf16"}};
};
template <>
struct EnumNames<Kernels> {
    static constexpr std::pair<Kernels, std::string_view> value[] = {
        {Kernels::reference, "reference"}, {Kernels::fused, "fused"}};
};
template <>
struct EnumNames<Device> {
    static constexpr std::pair<Device, std::string_view> value[] = {
        {Device::automatic, "auto"}, {Device::cuda, "cuda"}, {Device::cpu, "cpu"}};
};

/// A number of bytes that may be absent: `gpu-memory-limit = 24GiB`.
struct OptionalBytes {
    std::int64_t bytes = 0;  ///< 0: none
    bool operator==(const OptionalBytes&) const = default;
};

/// A number of steps, or "auto": as many as a rule asks for (docs/BENCHMARKING.md).
struct StepCount {
    static constexpr std::int64_t automatic = std::numeric_limits<std::int64_t>::min();
    std::int64_t steps = automatic;

    constexpr StepCount() = default;
    // A number is a count wherever one is wanted.
    constexpr StepCount(std::int64_t count) : steps(count) {}  // NOLINT(*-explicit-*)
    bool is_automatic() const { return steps == automatic; }
    bool operator==(const StepCount&) const = default;
};

/// What a worker does beside the measured steps: "memory", "memory,pipelined", "none".
struct Passes {
    bool memory = true;      ///< where the memory of a step goes
    bool pipelined = false;  ///< steps that are enqueued without waiting in between
    bool energy = false;     ///< pipelined, and long enough for the GPU's energy counter
    bool operator==(const Passes&) const = default;
};

/// One cell of the grid: everything that decides what one worker measures.
/// A plain value; `for_each_field` below names each of its fields once.
struct Cell {
    std::string model_size = "small";
    std::int64_t d_model = 768;
    std::int64_t d_ff = 3072;
    std::int64_t num_layers = 12;
    std::int64_t num_heads = 12;
    std::int64_t context_length = 512;
    std::int64_t batch_size = 4;
    std::int64_t vocab_size = 10000;
    std::int64_t seed = 1;
    PassType pass_type = PassType::forward;
    Precision precision = Precision::fp32;
    Kernels kernels = Kernels::reference;
    bool cuda_graph = false;
    bool activation_checkpointing = false;
    bool sync = true;
    StepCount warmup_steps = 5;
    StepCount measure_steps = 10;
    Passes passes;
    Device device = Device::automatic;
    OptionalBytes gpu_memory_limit;
    std::int64_t replicate = 1;
    /// Axes that only a worker of one's own knows (`axis.NAME`), by NAME; numbers or strings.
    std::map<std::string, boost::json::value, std::less<>> custom;

    bool operator==(const Cell&) const = default;
};

/// What a field is to the plan.
enum class FieldKind {
    axis,       ///< takes a list of values; the grid is the product of all axes
    dimension,  ///< of the model; set by `model-size`, by a [model.NAME] section, or by hand
    setting,    ///< takes one value, and is still part of the cell and of its key
    counter,    ///< numbers the cells that are otherwise equal; set by `replicates`
};

/// What is known of a field besides its value.
struct Field {
    std::string_view name;  ///< "context_length", as in JSON and CSV; '-' for '_' on a command line
    FieldKind kind;
    std::int64_t minimum;  ///< smallest integer allowed, where the field is one
    std::string_view help;

    /// The name as a key of config files and a flag: "context-length".
    std::string key() const { return replace_all(name, '_', '-'); }
};

/// Calls `visit(Field, member)` for every field of a cell but the custom ones, in the order of the
/// plan: the first changes slowest. The only list of a cell's fields. `CellRef` is Cell or const
/// Cell. A new axis is one line in the struct, one here, and its use in worker/.
template <class CellRef, class Visit>
void for_each_field(CellRef& cell, Visit&& visit) {
    using enum FieldKind;
    visit(Field{"model_size", axis, 0,
                "tiny, small, medium, large, xl, 2.7B, 10B, or a size of your own"},
          cell.model_size);
    visit(Field{"d_model", dimension, 1, "width of the residual stream"}, cell.d_model);
    visit(Field{"d_ff", dimension, 1, "inner width of the feed-forward layer"}, cell.d_ff);
    visit(Field{"num_layers", dimension, 1, "Transformer blocks"}, cell.num_layers);
    visit(Field{"num_heads", dimension, 1, "attention heads"}, cell.num_heads);
    visit(Field{"context_length", axis, 1, "tokens per sequence"}, cell.context_length);
    visit(Field{"batch_size", axis, 1, "sequences per step"}, cell.batch_size);
    visit(Field{"vocab_size", axis, 1, "tokens in the vocabulary"}, cell.vocab_size);
    visit(Field{"seed", axis, 1, "seed of the weights and of the tokens"}, cell.seed);
    visit(Field{"pass_type", axis, 0, "forward, forward_backward, train_step"}, cell.pass_type);
    visit(Field{"precision", axis, 0, "fp32, tf32, bf16 (autocast over fp32 weights)"},
          cell.precision);
    visit(Field{"kernels", axis, 0, "reference (as the course writes the model), fused"},
          cell.kernels);
    visit(Field{"cuda_graph", axis, 0, "off, on: capture the step once and replay it"},
          cell.cuda_graph);
    visit(Field{"activation_checkpointing", axis, 0, "off, on: recompute blocks in the backward"},
          cell.activation_checkpointing);
    visit(Field{"sync", axis, 0, "on, off: synchronise the device around each step"}, cell.sync);
    visit(Field{"warmup_steps", axis, 0, "steps before the measured ones, or auto"},
          cell.warmup_steps);
    visit(Field{"measure_steps", axis, 1, "measured steps, or auto"}, cell.measure_steps);
    visit(Field{"device", axis, 0, "auto, cuda, cpu"}, cell.device);
    visit(
        Field{"gpu_memory_limit", setting, 0, "bytes or 24GiB: a large GPU behaves as a small one"},
        cell.gpu_memory_limit);
    visit(Field{"passes", setting, 0,
                "beside the measured steps: memory, pipelined, energy (a comma list), or none"},
          cell.passes);
    visit(Field{"replicate", counter, 1, "number of this repetition"}, cell.replicate);
}

/// A field's value as a person reads and writes it: "512", "forward", "on", "25769803776", "".
std::string to_text(const std::string& value);
std::string to_text(std::int64_t value);
std::string to_text(bool value);
std::string to_text(const OptionalBytes& value);
std::string to_text(const StepCount& value);
std::string to_text(const Passes& value);
template <NamedEnum E>
std::string to_text(E value) {
    return std::string(to_name(value));
}

/// Reads a field's value from what a person typed. \throws BadValue
void parse_field(std::string_view text, const Field& field, std::string& value);
void parse_field(std::string_view text, const Field& field, std::int64_t& value);
void parse_field(std::string_view text, const Field& field, bool& value);
void parse_field(std::string_view text, const Field& field, OptionalBytes& value);
void parse_field(std::string_view text, const Field& field, StepCount& value);
void parse_field(std::string_view text, const Field& field, Passes& value);
/// "expected one of a, b, c; did you mean 'b'?" as a BadValue.
[[noreturn]] void throw_unknown_name(std::string_view text, const std::vector<std::string>& known);
template <NamedEnum E>
void parse_field(std::string_view text, const Field&, E& value) {
    if (const auto found = from_name<E>(text)) {
        value = *found;
        return;
    }
    throw_unknown_name(text, names_of<E>());
}

/// A custom axis' value from its text: an integer or a double where the whole text is one.
boost::json::value custom_value(std::string_view text);

/// A custom axis' value as text, the reverse of `custom_value`.
std::string to_text(const boost::json::value& value);

/// The model's dimensions as one value.
ModelConfig model_config(const Cell& cell);

/// Sets `model_size` and the four dimensions.
void set_model(Cell& cell, std::string_view name, const ModelConfig& config);

/// The cell as a request carries it: every field by its name, numbers as numbers, switches as
/// "on"/"off", an absent limit left out, custom axes beside the others.
boost::json::object to_json(const Cell& cell);

/// The reverse. What is no field of ours is kept in `custom`. A known size's dimensions may be
/// left out. \throws BadValue naming the field
Cell cell_from_json(const boost::json::object& object);

/// The cell's key, 16 hexadecimal digits: a hash of its fields, dimensions and replicate included.
/// A field at its default is left out, so that a new axis keeps old keys. Names files and repeats
/// across runs and machines.
std::string key_of(const Cell& cell);

/// The cell in a few words for a person: "large, context 512, batch 4, forward, bf16"; what stands
/// at its default is left out, but for size, context, batch and pass type.
std::string describe(const Cell& cell);

}  // namespace isosweep
