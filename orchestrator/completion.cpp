#include "orchestrator/completion.h"

#include <isosweep/model_config.h>

#include <map>
#include <type_traits>
#include <utility>
#include <vector>

#include "orchestrator/keys.h"
#include "orchestrator/options.h"

namespace isosweep {
namespace {

/// A flag as a script needs it.
struct CompletedFlag {
    std::string name;
    std::string help;
    std::vector<std::string> values;
};

using Names = std::vector<std::string>;

/// What an axis of this type may be, as far as it has names.
template <class Value>
Names names_of_axis(const Value&) {
    if constexpr (NamedEnum<Value>) return names_of<Value>();
    if constexpr (std::is_same_v<Value, bool>) return {"on", "off"};
    if constexpr (std::is_same_v<Value, StepCount>) return {"auto"};
    Names names;
    if constexpr (std::is_same_v<Value, std::string>)  // the model's size is the only one
        for (const auto& known : model_configs()) names.push_back(known.first);
    return names;
}

std::vector<CompletedFlag> axis_flags() {
    std::vector<CompletedFlag> flags;
    for_each_axis([&](const Field& field, const auto& value) {
        flags.push_back({"--" + field.key(), std::string(field.help), names_of_axis(value)});
    });
    return flags;
}

std::vector<CompletedFlag> key_flags() {
    std::vector<CompletedFlag> flags;
    for (const SingleKey& key : single_keys())
        flags.push_back(
            {"--" + key.name, key.help, key.is_switch ? Names{"on", "off"} : key.values});
    flags.push_back({"--no-sync", "the same as --sync off", {}});
    return flags;
}

std::vector<CompletedFlag> flags_of(Verb verb) {
    std::vector<CompletedFlag> flags;
    for (const OwnFlag& flag : own_flags(verb))
        flags.push_back({"--" + flag.name, flag.help, flag.values});
    const auto add = [&](const std::vector<CompletedFlag>& more) {
        flags.insert(flags.end(), more.begin(), more.end());
    };
    if (takes_keys(verb)) {
        add(axis_flags());
        add(key_flags());
    }
    flags.push_back({"--help", "every flag of this command", {}});
    return flags;
}

/// Endings of the files that a command takes without a flag.
Names subject_endings(Verb verb) {
    switch (verb) {
        case Verb::run:
        case Verb::shard:
        case Verb::retry:
        case Verb::plan:
        case Verb::status:
            return {"cfg"};
        case Verb::report:
        case Verb::compare:
            return {"cfg", "csv"};
        case Verb::merge:
            return {"csv"};
        case Verb::completion:
            return {};
    }
    return {};
}

/// As people write an axis of several values.
std::string plural_of(const std::string& axis) { return axis.ends_with('s') ? axis : axis + "s"; }

/// "report --view", as the scripts put command and flag together.
std::string pattern_of(Verb verb, const std::string& flag) {
    return "'" + std::string(to_name(verb)) + " --" + flag + "'";
}
/// The same for a flag of all commands that take keys.
std::string pattern_of(const std::string& flag) { return "*' " + flag + "'"; }

/// Patterns of the flags that stand alone: behind them comes another flag.
Names lone_patterns() {
    Names patterns = {pattern_of("--no-sync")};
    for (const auto& entry : EnumNames<Verb>::value)
        for (const OwnFlag& flag : own_flags(entry.first))
            if (flag.is_switch) patterns.push_back(pattern_of(entry.first, flag.name));
    return patterns;
}

/// Patterns of the flags that take several words, which an axis does, and a list of outcomes.
Names list_patterns() {
    Names patterns = {pattern_of(Verb::retry, "status"), "*' --axis.'*"};
    for (const CompletedFlag& axis : axis_flags()) {
        patterns.push_back(pattern_of(axis.name));
        if (plural_of(axis.name) != axis.name) patterns.push_back(pattern_of(plural_of(axis.name)));
    }
    return patterns;
}

/// Patterns with the values of their flags; those of a single command first, since they count.
std::vector<std::pair<std::string, Names>> values_by_pattern() {
    std::vector<std::pair<std::string, Names>> values;
    const auto add = [&](const std::string& pattern, const Names& names) {
        if (!names.empty()) values.emplace_back(pattern, names);
    };
    for (const auto& entry : EnumNames<Verb>::value)
        for (const OwnFlag& flag : own_flags(entry.first))
            add(pattern_of(entry.first, flag.name), flag.values);
    for (const CompletedFlag& axis : axis_flags()) {
        add(pattern_of(axis.name), axis.values);
        if (plural_of(axis.name) != axis.name) add(pattern_of(plural_of(axis.name)), axis.values);
    }
    for (const CompletedFlag& key : key_flags()) add(pattern_of(key.name), key.values);
    return values;
}

/// `text` with each @NAME@ replaced.
std::string filled_in(std::string text, const std::map<std::string, std::string>& parts) {
    for (const auto& [name, part] : parts) {
        const std::string place = "@" + name + "@";
        for (std::size_t at = text.find(place); at != std::string::npos;
             at = text.find(place, at + part.size()))
            text.replace(at, place.size(), part);
    }
    return text;
}

std::string quoted_words(const Names& words) {
    Names quoted;
    for (const std::string& word : words) quoted.push_back(shell_quoted(word));
    return join(quoted, " ");
}

constexpr const char* bash_script =
    R"script(# Completes isosweep's command line in bash; made by `isosweep completion bash`.
_isosweep() {
    local word=${COMP_WORDS[COMP_CWORD]} flag='' values='' head='' at flags endings ending
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W '@COMMANDS@ --help --version' -- "$word")
        return
    fi
    case ${COMP_WORDS[1]} in
@FLAGS@        completion) mapfile -t COMPREPLY < <(compgen -W '@SHELLS@' -- "$word"); return ;;
        *) return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word")
        return
    fi
    # The flag that the word belongs to. The '=' of --flag=value is a word to bash.
    for ((at = COMP_CWORD - 1; at > 1; --at)); do
        if [[ ${COMP_WORDS[at]} == -* ]]; then flag=${COMP_WORDS[at]}; break; fi
    done
    # What stands behind a flag of merge and its value is a sweep to join.
    if [[ ${COMP_WORDS[1]} == merge ]] && { [[ $flag == --allow-mixed ]] || ((at < COMP_CWORD - 1)); }; then
        flag=''
    fi
    if [[ $word == = ]]; then word=''; fi
    if [[ -z $flag ]]; then
        case ${COMP_WORDS[1]} in
            merge) ;;
            compare) if ((COMP_CWORD > 3)); then return; fi ;;
            *) if ((COMP_CWORD > 2)); then return; fi ;;
        esac
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(
            compgen -d -- "$word"
            for ending in $endings; do compgen -f -X "!*.$ending" -- "$word"; done
        )
        return
    fi
    case "${COMP_WORDS[1]} $flag" in
        @LONE@) values=$flags ;;
@VALUES@    esac
    # Only an axis, or a list of outcomes, takes several words.
    if ((at < COMP_CWORD - 1)) && [[ ${COMP_WORDS[at + 1]} != = ]]; then
        case "${COMP_WORDS[1]} $flag" in
            @LISTS@) ;;
            *) values=$flags ;;
        esac
    fi
    if [[ -z $values ]]; then return; fi
    # Of a list, what stands behind the last comma.
    if [[ $word == *,* ]]; then head=${word%,*},; fi
    mapfile -t COMPREPLY < <(compgen -P "$head" -W "$values" -- "${word##*,}")
}
complete -o default -F _isosweep isosweep
)script";

constexpr const char* zsh_script =
    R"script(#compdef isosweep
# Completes isosweep's command line in zsh; made by `isosweep completion zsh`.
_isosweep() {
    local word=${words[CURRENT]} flag='' at
    local -a flags values endings
    if ((CURRENT == 2)); then
        compadd -- @COMMANDS@ --help --version
        return
    fi
    case ${words[2]} in
@FLAGS@        completion) compadd -- @SHELLS@; return ;;
        *) return ;;
    esac
    if [[ $word == --*=* ]]; then
        flag=${word%%=*}
        at=$((CURRENT - 1))
        compset -P '*='
    elif [[ $word == -* ]]; then
        _describe -o flag flags
        return
    else
        for ((at = CURRENT - 1; at > 2; --at)); do
            if [[ ${words[at]} == -* ]]; then flag=${words[at]%%=*}; break; fi
        done
        # What stands behind a flag of merge and its value is a sweep to join.
        if [[ ${words[2]} == merge && ( $flag == --allow-mixed || $at -lt $((CURRENT - 1)) ) ]]; then
            flag=''
        fi
    fi
    if [[ -z $flag ]]; then
        case ${words[2]} in
            merge) ;;
            compare) if ((CURRENT > 4)); then return; fi ;;
            *) if ((CURRENT > 3)); then return; fi ;;
        esac
        # The last parentheses say "a file": those before them would be taken for such.
        _files -g "*.(${(j:|:)endings})(-.)"
        return
    fi
    case "${words[2]} $flag" in
        @LONE@) _describe -o flag flags; return ;;
@VALUES@    esac
    # Only an axis, or a list of outcomes, takes several words.
    if ((at < CURRENT - 1)) || [[ ${words[at]} == *=* && $word != --*=* ]]; then
        case "${words[2]} $flag" in
            @LISTS@) ;;
            *) _describe -o flag flags; return ;;
        esac
    fi
    if ((${#values} == 0)); then
        _files
        return
    fi
    # Of a list, what stands behind the last comma.
    compset -P '*,'
    compadd -- $values
}
if [[ ${funcstack[1]} == _isosweep ]]; then _isosweep "$@"; else compdef _isosweep isosweep; fi
)script";

/// A branch of the script's first `case`: the flags of a command and the endings of its files.
std::string flags_branch(Shell shell, Verb verb) {
    const std::string command(to_name(verb));
    Names words;
    for (const CompletedFlag& flag : flags_of(verb)) {
        // "name:what it means" for zsh, where a ':' of the name would need a backslash.
        words.push_back(shell == Shell::zsh ? flag.name + ":" + flag.help : flag.name);
    }
    const std::string flags = shell == Shell::zsh ? "flags=(" + quoted_words(words) + ")"
                                                  : "flags='" + join(words, " ") + "'";
    const std::string endings = join(subject_endings(verb), " ");
    return "        " + command + ") " + flags +
           "; endings=" + (shell == Shell::zsh ? "(" + endings + ")" : "'" + endings + "'") +
           " ;;\n";
}

}  // namespace

std::string completion_script(Shell shell) {
    std::map<std::string, std::string> parts;
    parts["COMMANDS"] = join(names_of<Verb>(), " ");
    parts["SHELLS"] = join(names_of<Shell>(), " ");
    for (const auto& entry : EnumNames<Verb>::value)
        if (entry.first != Verb::completion) parts["FLAGS"] += flags_branch(shell, entry.first);
    for (const auto& [pattern, values] : values_by_pattern())
        parts["VALUES"] +=
            "        " + pattern + ") values=" +
            (shell == Shell::zsh ? "(" + join(values, " ") + ")" : "'" + join(values, " ") + "'") +
            " ;;\n";
    parts["LONE"] = join(lone_patterns(), " | ");
    parts["LISTS"] = join(list_patterns(), " | ");
    return filled_in(shell == Shell::zsh ? zsh_script : bash_script, parts);
}

}  // namespace isosweep
