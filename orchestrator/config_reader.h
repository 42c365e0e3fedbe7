#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace isosweep {

/// Where a value was written: "configs/full.cfg:12" or "--timeout".
struct Source {
    std::string where;
};

/// One `key = value` line of a config file, or with an empty key the line that begins a section.
struct ConfigEntry {
    std::string section;  ///< "size.2.7B"; empty before the first section
    std::string key;
    std::string value;  ///< without comment and outer white space
    Source source;
};

/// Reads a config: `key = value` lines, `[section]` lines, '#' comments (a '#' inside a word or
/// quotes is none). \throws UsageError naming file and line
std::vector<ConfigEntry> read_config(const std::filesystem::path& file);

/// The same from text; `name` stands for the file in messages.
std::vector<ConfigEntry> parse_config(std::string_view text, const std::string& name);

/// Splits as a shell splits words: quotes and backslashes, nothing else of a shell.
/// \throws BadValue for a quote that is not closed
std::vector<std::string> split_words(std::string_view text);

}  // namespace isosweep
