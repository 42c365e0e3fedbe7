#pragma once

#include <map>
#include <string>
#include <vector>

#include "orchestrator/config_reader.h"
#include "orchestrator/options.h"

namespace isosweep {

/// What a flag of the command line was given.
struct Flag {
    std::string key;
    std::vector<std::string> words;
};

/// Ends with the one line that tells a bad value: where, key, value, what was expected.
/// \throws UsageError always
[[noreturn]] void refuse(const Source& source, const std::string& key, const std::string& value,
                         const std::string& why);

/// Checks one value of an axis and gives it in the form that the plan reads. \throws BadValue
std::string check_axis_value(const std::string& key, const std::string& text,
                             const std::map<std::string, ModelConfig>& models);

/// A config's "512, 1024 2048": values with commas or blanks between them, quotes as in a shell,
/// ranges expanded, each checked. \throws UsageError
std::vector<std::string> axis_values(const std::string& key, const ConfigEntry& entry,
                                     const std::map<std::string, ModelConfig>& models);

/// The same from a flag's words, each of which may be a comma list. \throws UsageError
std::vector<std::string> axis_values(const std::string& key, const Flag& flag,
                                     const std::map<std::string, ModelConfig>& models);

}  // namespace isosweep
