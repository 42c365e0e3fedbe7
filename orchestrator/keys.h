#pragma once

#include <isosweep/cell.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/options.h"

namespace isosweep {

/// A key that takes one value.
struct SingleKey {
    std::string name;
    std::string default_text;
    std::string help;
    bool is_switch;
    std::function<void(Options&, const std::string&)> set;  ///< \throws BadValue
    std::vector<std::string> values = {};  ///< where these are all, or all usual ones
};

/// A flag that is no key and belongs to one command.
struct OwnFlag {
    std::string name;
    std::string help;
    bool is_switch = false;
    std::vector<std::string> values = {};  ///< where these are all
};

/// The flags that a command has beside the keys, or instead of them.
const std::vector<OwnFlag>& own_flags(Verb verb);

/// Whether every key is a flag of a command.
bool takes_keys(Verb verb);

/// All keys that are no axes, in the order of the help.
const std::vector<SingleKey>& single_keys();

/// The key of this name. \returns nullptr where there is none
const SingleKey* find_single_key(const std::string& name);

/// Calls `visit(Field, member of a default cell)` for each axis.
template <class Visit>
void for_each_axis(Visit&& visit) {
    static const Cell defaults;
    for_each_field(defaults, [&](const Field& field, const auto& value) {
        if (field.kind == FieldKind::axis) visit(field, value);
    });
}

/// Whether a key is "axis.NAME".
bool is_custom_axis(std::string_view key);

/// Whether a key is an axis, a custom one or ours.
bool is_axis(const std::string& key);

/// The key that `name` means: plurals of axes are accepted.
std::string canonical_key(const std::string& name);

/// Every key, for near misses.
std::vector<std::string> all_keys();

/// The values of a comma list. A comma inside quotes separates nothing where `quotes` count.
/// \throws BadValue
std::vector<std::string> split_list(std::string_view text, bool quotes = false);

/// The enumerator that a person named. \throws BadValue
template <class E>
void set_name(E& target, const std::string& text) {
    parse_field(text, Field{"", FieldKind::setting, 0, ""}, target);
}

}  // namespace isosweep
