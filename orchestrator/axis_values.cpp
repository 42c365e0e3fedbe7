#include "orchestrator/axis_values.h"

#include "orchestrator/columns.h"
#include "orchestrator/errors.h"
#include "orchestrator/keys.h"

namespace isosweep {
namespace {

/// Refuses a custom axis whose column would be mistaken for one of ours. \throws BadValue
void check_custom_axis(std::string_view key) {
    const std::string name(key.substr(std::string_view("axis.").size()));
    if (is_own_column(replace_all(name, '-', '_')))
        throw BadValue("the name is taken; choose another for this axis");
    if (name.find_first_not_of(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") !=
        std::string::npos)
        throw BadValue("expected a name of letters, digits, '_' and '-' behind axis.");
}

/// "128..1024*2" as 128, 256, 512, 1024. What is no range is a single value.
std::vector<std::string> expand_range(const std::string& text) {
    const auto dots = text.find("..");
    if (dots == std::string::npos) return {text};
    const std::string expected = "expected a range a..b, a..b+step or a..b*factor";
    const auto sign = text.find_first_of("+*", dots);
    try {
        const auto first = parse_integer(text.substr(0, dots), 0);
        const auto last = parse_integer(
            text.substr(dots + 2, sign == std::string::npos ? sign : sign - dots - 2), 0);
        const bool multiplies = sign != std::string::npos && text[sign] == '*';
        const auto step = sign == std::string::npos
                              ? 1
                              : parse_integer(text.substr(sign + 1), multiplies ? 2 : 1);
        if (first > last || (multiplies && first == 0)) throw BadValue(expected);
        std::vector<std::string> values;
        for (std::int64_t at = first; at <= last;) {
            values.push_back(std::to_string(at));
            if (values.size() > 100'000) throw BadValue("expected at most 100000 values");
            if (multiplies ? at > last / step : at > last - step) break;
            at = multiplies ? at * step : at + step;
        }
        return values;
    } catch (const BadValue& problem) {
        if (std::string_view(problem.what()).starts_with("expected at most")) throw;
        throw BadValue(expected);
    }
}

/// The values that a person gave for an axis, ranges expanded, each checked.
std::vector<std::string> axis_values(const std::string& key, const std::vector<std::string>& items,
                                     const Source& source,
                                     const std::map<std::string, ModelConfig>& models) {
    std::vector<std::string> values;
    std::string at;
    try {
        if (items.empty()) throw BadValue("expected at least one value");
        if (is_custom_axis(key)) check_custom_axis(key);
        const bool may_be_range = !is_custom_axis(key) && key != "model-size";
        for (const std::string& item : items) {
            at = item;
            for (const std::string& value :
                 may_be_range ? expand_range(item) : std::vector<std::string>{item}) {
                at = value;
                values.push_back(check_axis_value(key, value, models));
            }
        }
    } catch (const BadValue& problem) {
        refuse(source, key, at, problem.what());
    }
    return values;
}

}  // namespace

[[noreturn]] void refuse(const Source& source, const std::string& key, const std::string& value,
                         const std::string& why) {
    const bool is_flag = source.where.starts_with("--");
    throw UsageError(source.where + (is_flag ? "" : ": " + key) + " = '" + one_line(value, 120) +
                     "': " + why);
}

std::string check_axis_value(const std::string& key, const std::string& text,
                             const std::map<std::string, ModelConfig>& models) {
    if (is_custom_axis(key)) return text;
    if (key == "model-size") {
        if (models.contains(text) || find_model_config(text)) return text;
        std::vector<std::string> known;
        for (const auto& [name, config] : model_configs()) known.push_back(name);
        for (const auto& [name, config] : models) known.push_back(name);
        throw_unknown_name(text, known);
    }
    std::string normal = text;
    for_each_axis([&](const Field& field, const auto& value) {
        if (field.key() != key) return;
        auto parsed = value;
        parse_field(text, field, parsed);
        normal = to_text(parsed);
    });
    return normal;
}

std::vector<std::string> axis_values(const std::string& key, const ConfigEntry& entry,
                                     const std::map<std::string, ModelConfig>& models) {
    std::vector<std::string> items;
    try {
        if (!entry.value.empty())
            for (const std::string& part : split_list(entry.value, true))
                for (std::string& word : split_words(part)) items.push_back(std::move(word));
    } catch (const BadValue& problem) {
        refuse(entry.source, key, entry.value, problem.what());
    }
    return axis_values(key, items, entry.source, models);
}

std::vector<std::string> axis_values(const std::string& key, const Flag& flag,
                                     const std::map<std::string, ModelConfig>& models) {
    const Source source{"--" + flag.key};
    std::vector<std::string> items;
    for (const std::string& word : flag.words) try {
            for (std::string& item : split_list(word)) items.push_back(std::move(item));
        } catch (const BadValue& problem) {
            refuse(source, key, word, problem.what());
        }
    return axis_values(key, items, source, models);
}

}  // namespace isosweep
