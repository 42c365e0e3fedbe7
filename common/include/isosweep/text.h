#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Text in and out: what both programs need to read a value that a person typed and to print one.
namespace isosweep {

/// Of a container by texts, finds one without making a string of it.
struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
        return std::hash<std::string_view>()(text);
    }
};

/// A value that a person typed and that cannot be taken. `what()` is "expected ..." with near
/// misses; whoever knows the key, the file and the line puts them in front.
class BadValue : public std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

/// The enumerators of E with the names that config files, JSON and CSV use, default first.
/// Specialised beside each enum: `static constexpr std::pair<E, std::string_view> value[]`.
template <class E>
struct EnumNames;

template <class E>
concept NamedEnum = requires { EnumNames<E>::value; };

/// The name of an enumerator. Every enumerator has one.
template <NamedEnum E>
constexpr std::string_view to_name(E value) {
    for (const auto& [enumerator, name] : EnumNames<E>::value)
        if (enumerator == value) return name;
    return {};
}

/// The enumerator with exactly this name, if there is one.
template <NamedEnum E>
constexpr std::optional<E> from_name(std::string_view name) {
    for (const auto& [enumerator, known] : EnumNames<E>::value)
        if (known == name) return enumerator;
    return std::nullopt;
}

/// All names of an enum, in order.
template <NamedEnum E>
std::vector<std::string> names_of() {
    std::vector<std::string> names;
    for (const auto& entry : EnumNames<E>::value) names.emplace_back(entry.second);
    return names;
}

/// Those of `known` that a person who typed `word` may have meant, nearest first, at most three.
std::vector<std::string> near_misses(std::string_view word, std::span<const std::string> known);

/// "; did you mean 'a' or 'b'?", or nothing where nothing is near.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

/// The whole of `text` as an integer of at least `minimum`. \throws BadValue
std::int64_t parse_integer(std::string_view text, std::int64_t minimum);

/// "on"/"off" (also true/false, yes/no, 1/0) as a switch. \throws BadValue
bool parse_switch(std::string_view text);

/// "24GiB", "16GB", "512MiB" or plain bytes. \returns bytes, at least 1 \throws BadValue
std::int64_t parse_bytes(std::string_view text);

/// Bytes as people read them: "1.5 GiB", "640 B".
std::string format_bytes(std::int64_t bytes);

/// "250ms", "90s", "10m", "1.5h", "2d" or plain seconds. \returns milliseconds, >= 0 \throws
/// BadValue
std::int64_t parse_duration_ms(std::string_view text);

/// A duration as people read it: "0.4 s", "12 s", "3 min 20 s", "2 h 05 min".
std::string format_duration(double milliseconds);

/// The shortest text that reads back as exactly this double; empty for NaN and infinities.
std::string format_exact(double value);

/// "1 cell", "2 cells".
std::string counted(std::size_t number, const std::string& what);

/// A double with a fixed number of decimals, for tables.
std::string format_fixed(double value, int decimals);

/// A word as a shell reads it: in quotes where it needs them.
std::string shell_quoted(const std::string& word);

/// `parts` with `separator` between them.
std::string join(std::span<const std::string> parts, std::string_view separator);

/// `text` without white space at both ends.
std::string_view trim(std::string_view text);

/// `name` with every `from` turned into `to`: "context_length" and "context-length".
std::string replace_all(std::string_view text, char from, char to);

/// `text` on one line: control characters and runs of white space become one blank; cut, with
/// "...", to at most `limit` bytes without splitting a UTF-8 character. Not UTF-8 becomes '?'.
std::string one_line(std::string_view text, std::size_t limit = 500);

}  // namespace isosweep
