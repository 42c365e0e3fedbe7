#include "orchestrator/config_reader.h"

#include <isosweep/text.h>

#include <fstream>
#include <iterator>
#include <map>

#include "orchestrator/errors.h"

namespace isosweep {
namespace {

/// `line` up to a '#' that starts a word outside quotes.
std::string_view without_comment(std::string_view line) {
    char quote = '\0';
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (quote != '\0') {
            if (c == quote) quote = '\0';
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
            return line.substr(0, i);
        }
    }
    return line;
}

}  // namespace

std::vector<ConfigEntry> read_config(const std::filesystem::path& file) {
    std::ifstream stream(file);
    if (!stream || std::filesystem::is_directory(file))
        throw UsageError(file.string() +
                         ": cannot read the config; is the path right? It is relative to " +
                         std::filesystem::current_path().string());
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    return parse_config(text, file.string());
}

std::vector<ConfigEntry> parse_config(std::string_view text, const std::string& name) {
    std::vector<ConfigEntry> entries;
    std::map<std::pair<std::string, std::string>, std::string> seen;
    std::string section;
    std::size_t number = 0;
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    while (!text.empty()) {
        const auto newline = text.find('\n');
        const std::string_view line = trim(without_comment(text.substr(0, newline)));
        text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
        const std::string where = name + ":" + std::to_string(++number);
        if (line.empty()) continue;
        if (line.front() == '[') {
            section =
                line.back() == ']' ? trim(line.substr(1, line.size() - 2)) : std::string_view();
            if (section.empty())
                throw UsageError(where + ": " + one_line(line, 80) +
                                 ": expected a section as in [size.large] or [model.NAME]");
            entries.push_back({section, "", "", {where}});
            continue;
        }
        const auto equals = line.find('=');
        const std::string key(trim(line.substr(0, equals)));
        if (equals == std::string_view::npos || key.empty())
            throw UsageError(where + ": " + one_line(line, 80) + ": expected key = value");
        const auto [first, is_new] = seen.emplace(std::pair(section, key), where);
        if (!is_new)
            throw UsageError(where + ": " + key + " is already set at " + first->second +
                             "; a key takes all its values in one line");
        entries.push_back({section, key, std::string(trim(line.substr(equals + 1))), {where}});
    }
    return entries;
}

std::vector<std::string> split_words(std::string_view text) {
    std::vector<std::string> words;
    bool in_word = false;
    char quote = '\0';
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote == '\0' && (c == ' ' || c == '\t')) {
            in_word = false;
            continue;
        }
        if (!in_word) words.emplace_back();
        in_word = true;
        if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == quote) {
            quote = '\0';
        } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
            words.back() += text[++i];
        } else {
            words.back() += c;
        }
    }
    if (quote != '\0') throw BadValue(std::string("expected a closing ") + quote);
    return words;
}

}  // namespace isosweep
