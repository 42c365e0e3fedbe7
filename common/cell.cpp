#include <isosweep/cell.h>

#include <array>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <type_traits>

namespace isosweep {
namespace json = boost::json;
namespace {

json::value field_to_json(const std::string& value) { return json::value(value); }
json::value field_to_json(std::int64_t value) { return value; }
json::value field_to_json(bool value) { return value ? "on" : "off"; }
json::value field_to_json(const OptionalBytes& value) {
    return value.bytes == 0 ? json::value(nullptr) : json::value(value.bytes);
}
json::value field_to_json(const StepCount& value) {
    return value.is_automatic() ? json::value("auto") : json::value(value.steps);
}
json::value field_to_json(const Passes& value) { return json::value(to_text(value)); }
template <NamedEnum E>
json::value field_to_json(E value) {
    return json::value(std::string(to_name(value)));
}

/// A field's value from JSON: numbers as numbers, the rest by the text a person would write.
template <class T>
void field_from_json(const json::value& from, const Field& field, T& value) {
    if constexpr (std::is_same_v<T, OptionalBytes>) {
        if (from.is_null()) {
            value = {};
            return;
        }
    }
    if constexpr (std::is_same_v<T, StepCount>) {
        if (!from.is_string()) {
            field_from_json(from, field, value.steps);
            return;
        }
    }
    if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, OptionalBytes>) {
        if (!from.is_int64()) throw BadValue("expected an integer");
        parse_field(std::to_string(from.get_int64()), field, value);
    } else if constexpr (std::is_same_v<T, bool>) {
        if (from.is_bool()) {
            value = from.get_bool();
            return;
        }
        if (!from.is_string()) throw BadValue("expected \"on\" or \"off\"");
        parse_field(from.get_string(), field, value);
    } else {
        if (!from.is_string()) throw BadValue("expected a string");
        parse_field(from.get_string(), field, value);
    }
}

constexpr std::pair<std::string_view, bool Passes::*> passes_by_name[] = {
    {"memory", &Passes::memory}, {"pipelined", &Passes::pipelined}, {"energy", &Passes::energy}};

bool is_default(std::string_view name, const json::value& value, const json::object& defaults) {
    const json::value* usual = defaults.if_contains(name);
    return usual != nullptr && *usual == value;
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo), then the finaliser of MurmurHash3 so that all bits mix.
std::uint64_t hash_of(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : text) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3U;
    }
    hash ^= hash >> 33;
    hash *= 0xff51afd7ed558ccdU;
    hash ^= hash >> 33;
    hash *= 0xc4ceb9fe1a85ec53U;
    return hash ^ (hash >> 33);
}

}  // namespace

std::string to_text(const std::string& value) { return value; }
std::string to_text(std::int64_t value) { return std::to_string(value); }
std::string to_text(bool value) { return value ? "on" : "off"; }
std::string to_text(const OptionalBytes& value) {
    return value.bytes == 0 ? std::string() : std::to_string(value.bytes);
}
std::string to_text(const StepCount& value) {
    return value.is_automatic() ? "auto" : to_text(value.steps);
}
std::string to_text(const Passes& value) {
    std::vector<std::string> names;
    for (const auto& [name, member] : passes_by_name)
        if (value.*member) names.emplace_back(name);
    return names.empty() ? "none" : join(names, ",");
}

void parse_field(std::string_view text, const Field&, std::string& value) {
    if (text.empty()) throw BadValue("expected a name");
    value = text;
}
void parse_field(std::string_view text, const Field& field, std::int64_t& value) {
    value = parse_integer(text, field.minimum);
    // What is beyond is a slip of the hand, and its arithmetic would overflow.
    const std::int64_t limit = field.kind == FieldKind::dimension ? 1'000'000 : 1'000'000'000;
    if (value > limit) throw BadValue("expected an integer <= " + std::to_string(limit));
}
void parse_field(std::string_view text, const Field&, bool& value) { value = parse_switch(text); }
void parse_field(std::string_view text, const Field&, OptionalBytes& value) {
    value.bytes = text.empty() || text == "none" ? 0 : parse_bytes(text);
}

void parse_field(std::string_view text, const Field& field, StepCount& value) {
    if (text == "auto")
        value = {};
    else
        parse_field(text, field, value.steps);
}
void parse_field(std::string_view text, const Field&, Passes& value) {
    value = {.memory = false};
    if (text == "none") return;
    while (true) {
        const auto comma = text.find(',');
        const std::string_view one = trim(text.substr(0, comma));
        bool known = false;
        for (const auto& [name, member] : passes_by_name) {
            if (one != name) continue;
            value.*member = known = true;
        }
        if (!known) throw_unknown_name(one, {"memory", "pipelined", "energy", "none"});
        if (comma == std::string_view::npos) return;
        text.remove_prefix(comma + 1);
    }
}

void throw_unknown_name(std::string_view text, const std::vector<std::string>& known) {
    throw BadValue("expected one of " + join(known, ", ") + did_you_mean(text, known));
}

json::value custom_value(std::string_view text) {
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    std::int64_t integer = 0;
    if (const auto [stop, problem] = std::from_chars(begin, end, integer);
        problem == std::errc{} && stop == end)
        return integer;
    double number = 0;
    if (const auto [stop, problem] = std::from_chars(begin, end, number);
        problem == std::errc{} && stop == end && std::isfinite(number))
        return number;
    return json::value(text);
}

std::string to_text(const json::value& value) {
    if (value.is_string()) return std::string(value.get_string());
    if (value.is_double()) return format_exact(value.get_double());
    return json::serialize(value);
}

ModelConfig model_config(const Cell& cell) {
    return {cell.d_model, cell.d_ff, cell.num_layers, cell.num_heads, cell.vocab_size};
}

void set_model(Cell& cell, std::string_view name, const ModelConfig& config) {
    cell.model_size = name;
    cell.d_model = config.d_model;
    cell.d_ff = config.d_ff;
    cell.num_layers = config.num_layers;
    cell.num_heads = config.num_heads;
}

json::object to_json(const Cell& cell) {
    json::object object;
    for_each_field(cell, [&](const Field& field, const auto& value) {
        json::value as_json = field_to_json(value);
        if (!as_json.is_null()) object[field.name] = std::move(as_json);
    });
    for (const auto& [name, value] : cell.custom) object[name] = value;
    return object;
}

Cell cell_from_json(const json::object& object) {
    Cell cell;
    if (const json::value* size = object.if_contains("model_size"); size && size->is_string())
        if (const ModelConfig* config = find_model_config(size->get_string()))
            set_model(cell, size->get_string(), *config);
    json::object unknown = object;
    for_each_field(cell, [&](const Field& field, auto& value) {
        const json::value* given = object.if_contains(field.name);
        if (!given) return;
        unknown.erase(field.name);
        try {
            field_from_json(*given, field, value);
        } catch (const BadValue& problem) {
            throw BadValue(std::string(field.name) + " = " + json::serialize(*given) + ": " +
                           problem.what());
        }
    });
    for (const auto& entry : unknown) cell.custom.emplace(entry.key(), entry.value());
    return cell;
}

std::string key_of(const Cell& cell) {
    static const json::object defaults = to_json(Cell{});
    std::string canonical;
    const auto add = [&](std::string_view name, const json::value& value) {
        canonical += name;
        canonical += '=';
        canonical += json::serialize(value);
        canonical += '\n';
    };
    for_each_field(cell, [&](const Field& field, const auto& value) {
        const json::value as_json = field_to_json(value);
        // Dimensions have no default of their own: they are the size's, and always count.
        if (field.kind == FieldKind::dimension ||
            (!as_json.is_null() && !is_default(field.name, as_json, defaults)))
            add(field.name, as_json);
    });
    for (const auto& [name, value] : cell.custom) add("axis." + name, value);
    std::array<char, 17> hex;
    std::snprintf(hex.data(), hex.size(), "%016llx",
                  static_cast<unsigned long long>(hash_of(canonical)));
    return hex.data();
}

std::string describe(const Cell& cell) {
    static const json::object defaults = to_json(Cell{});
    std::string text = cell.model_size + ", context " + std::to_string(cell.context_length) +
                       ", batch " + std::to_string(cell.batch_size) + ", " +
                       to_text(cell.pass_type);
    for_each_field(cell, [&](const Field& field, const auto& value) {
        if (field.kind == FieldKind::dimension || field.name == "model_size" ||
            field.name == "context_length" || field.name == "batch_size" ||
            field.name == "pass_type")
            return;
        const json::value as_json = field_to_json(value);
        if (as_json.is_null() || is_default(field.name, as_json, defaults)) return;
        const bool says_itself =
            field.name == "precision" || field.name == "kernels" || field.name == "device";
        text += ", " + (says_itself ? std::string() : replace_all(field.name, '_', ' ') + " ") +
                to_text(value);
    });
    for (const auto& [name, value] : cell.custom) text += ", " + name + " " + to_text(value);
    return text;
}

}  // namespace isosweep
