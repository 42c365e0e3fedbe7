#include <isosweep/text.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

namespace isosweep {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Edits between two words without regard to case: a letter more, less, another, or two swapped
/// (optimal string alignment).
std::size_t distance(std::string_view a, std::string_view b) {
    using Row = std::vector<std::size_t>;
    Row before(b.size() + 1);
    Row last(b.size() + 1);
    Row row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
    const auto same = [&](std::size_t i, std::size_t j) { return lower(a[i]) == lower(b[j]); };
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            row[j] = std::min({last[j] + 1, row[j - 1] + 1,
                               last[j - 1] + static_cast<std::size_t>(!same(i - 1, j - 1))});
            if (i > 1 && j > 1 && same(i - 1, j - 2) && same(i - 2, j - 1))
                row[j] = std::min(row[j], before[j - 2] + 1);
        }
        std::swap(before, last);
        std::swap(last, row);
    }
    return last[b.size()];
}

struct Unit {
    std::string_view name;
    double factor;
};

/// "1.5h" as a number times the factor of its unit; nullopt where it is not of that form.
std::optional<double> parse_with_unit(std::string_view text, std::span<const Unit> units) {
    double number = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc{} || !std::isfinite(number) || number < 0) return std::nullopt;
    const std::string_view unit = trim(text.substr(static_cast<std::size_t>(end - text.data())));
    for (const Unit& known : units)
        if (known.name == unit) return number * known.factor;
    return std::nullopt;
}

/// Bytes of the UTF-8 character that starts `text`, or 0 where none does.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    const std::size_t length = first < 0x80                    ? 1
                               : first >= 0xC2 && first < 0xE0 ? 2
                               : first >= 0xE0 && first < 0xF0 ? 3
                               : first >= 0xF0 && first < 0xF5 ? 4
                                                               : 0;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xC0) != 0x80) return 0;
    if (first == 0xE0 && byte(1) < 0xA0) return 0;   // overlong
    if (first == 0xED && byte(1) >= 0xA0) return 0;  // surrogate
    if (first == 0xF0 && byte(1) < 0x90) return 0;
    if (first == 0xF4 && byte(1) >= 0x90) return 0;
    return length;
}

}  // namespace

std::vector<std::string> near_misses(std::string_view word, std::span<const std::string> known) {
    const std::size_t limit = word.size() <= 3 ? 1 : word.size() <= 6 ? 2 : 3;
    std::vector<std::pair<std::size_t, std::string>> near;
    for (const std::string& candidate : known) {
        const bool prefix = word.size() >= 2 && candidate.starts_with(word);
        const std::size_t far = distance(word, candidate);
        if (prefix || far <= limit)
            near.emplace_back(prefix ? std::min(far, limit) : far, candidate);
    }
    std::stable_sort(near.begin(), near.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::string> names;
    for (auto& [far, name] : near)
        if (names.size() < 3) names.push_back(std::move(name));
    return names;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
    std::string text;
    for (const std::string& near : near_misses(word, known))
        text += (text.empty() ? "; did you mean '" : " or '") + near + "'";
    return text.empty() ? text : text + "?";
}

std::int64_t parse_integer(std::string_view text, std::int64_t minimum) {
    std::int64_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc{} || end != text.data() + text.size() || value < minimum)
        throw BadValue("expected an integer >= " + std::to_string(minimum));
    return value;
}

bool parse_switch(std::string_view text) {
    for (const std::string_view yes : {"on", "true", "yes", "1"})
        if (text == yes) return true;
    for (const std::string_view no : {"off", "false", "no", "0"})
        if (text == no) return false;
    throw BadValue("expected on or off");
}

std::int64_t parse_bytes(std::string_view text) {
    static constexpr std::array<Unit, 12> units = {{{"", 1},
                                                    {"B", 1},
                                                    {"kB", 1e3},
                                                    {"KB", 1e3},
                                                    {"MB", 1e6},
                                                    {"GB", 1e9},
                                                    {"TB", 1e12},
                                                    {"KiB", 1024.0},
                                                    {"MiB", 1024.0 * 1024},
                                                    {"GiB", 1024.0 * 1024 * 1024},
                                                    {"TiB", 1024.0 * 1024 * 1024 * 1024},
                                                    {"bytes", 1}}};
    const auto bytes = parse_with_unit(text, units);
    if (!bytes || *bytes < 1 || *bytes > 9e18)
        throw BadValue("expected bytes, as in 24GiB, 512MiB or 16000000000");
    return static_cast<std::int64_t>(std::llround(*bytes));
}

std::string counted(std::size_t number, const std::string& what) {
    return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

std::string format_bytes(std::int64_t bytes) {
    static constexpr std::array<std::string_view, 5> units = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (std::abs(value) >= 1024 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    const int decimals = unit == 0 || std::abs(value) >= 100 ? 0 : std::abs(value) >= 10 ? 1 : 2;
    return format_fixed(value, decimals) + " " + std::string(units[unit]);
}

std::int64_t parse_duration_ms(std::string_view text) {
    static constexpr std::array<Unit, 7> units = {{{"", 1e3},
                                                   {"ms", 1},
                                                   {"s", 1e3},
                                                   {"m", 60e3},
                                                   {"min", 60e3},
                                                   {"h", 3600e3},
                                                   {"d", 86400e3}}};
    const auto milliseconds = parse_with_unit(text, units);
    if (!milliseconds || *milliseconds > 1e13)
        throw BadValue("expected a duration, as in 250ms, 90s, 10m or 1.5h");
    return static_cast<std::int64_t>(std::llround(*milliseconds));
}

std::string format_duration(double milliseconds) {
    if (milliseconds < 9950) return format_fixed(milliseconds / 1e3, 1) + " s";
    const auto seconds = static_cast<std::int64_t>(std::llround(milliseconds / 1e3));
    if (seconds < 60) return std::to_string(seconds) + " s";
    const auto two = [](std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
    if (seconds < 3600) return std::to_string(seconds / 60) + " min " + two(seconds % 60) + " s";
    return std::to_string(seconds / 3600) + " h " + two(seconds / 60 % 60) + " min";
}

std::string format_exact(double value) {
    if (!std::isfinite(value)) return {};
    std::array<char, 32> buffer;
    const auto [end, problem] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return {buffer.data(), end};
}

std::string format_fixed(double value, int decimals) {
    if (!std::isfinite(value)) return {};
    std::array<char, 400> buffer;
    const auto [end, problem] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                              std::chars_format::fixed, decimals);
    return {buffer.data(), end};
}

std::string shell_quoted(const std::string& word) {
    constexpr std::string_view plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:=+%@";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
    std::string text = "'";
    for (const char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
    return text + "'";
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
    std::string text;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (i > 0) text += separator;
        text += parts[i];
    }
    return text;
}

std::string_view trim(std::string_view text) {
    constexpr std::string_view blanks = " \t\r\n\v\f";
    const auto first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::string replace_all(std::string_view text, char from, char to) {
    std::string changed(text);
    std::replace(changed.begin(), changed.end(), from, to);
    return changed;
}

std::string one_line(std::string_view text, std::size_t limit) {
    std::string line;
    bool blank = false;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = utf8_length(text.substr(i));
        const auto byte = static_cast<unsigned char>(text[i]);
        if (byte <= ' ' || byte == 0x7F) {
            blank = !line.empty();
            ++i;
            continue;
        }
        const std::size_t needed = (blank ? 1 : 0) + std::max<std::size_t>(length, 1);
        if (line.size() + needed > limit) return line + "...";
        if (blank) line += ' ';
        blank = false;
        if (length == 0)
            line += '?';
        else
            line += text.substr(i, length);
        i += std::max<std::size_t>(length, 1);
    }
    return line;
}

}  // namespace isosweep
