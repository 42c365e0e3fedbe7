#include "orchestrator/options.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>

#include "orchestrator/axis_values.h"
#include "orchestrator/completion.h"
#include "orchestrator/config_reader.h"
#include "orchestrator/errors.h"
#include "orchestrator/help.h"
#include "orchestrator/keys.h"
#include "orchestrator/versions.h"

namespace isosweep {
namespace po = boost::program_options;
namespace fs = std::filesystem;
namespace {
void set_axis(AxisValues& axes, const std::string& key, std::vector<std::string> values) {
    for (auto& [known, old] : axes)
        if (known == key) {
            old = std::move(values);
            return;
        }
    axes.emplace_back(key, std::move(values));
}

// --- the config ---------------------------------------------------------------------------------

void read_model_section(Grid& grid, const std::vector<ConfigEntry>& entries,
                        const std::string& section) {
    const std::string name = section.substr(std::string("model.").size());
    std::map<std::string, std::int64_t> given;
    Source source;
    static const std::vector<std::string> keys = {"d-model", "d-ff", "num-layers", "num-heads"};
    for (const ConfigEntry& entry : entries) {
        if (entry.section != section) continue;
        source = entry.source;
        if (entry.key.empty()) continue;
        if (std::find(keys.begin(), keys.end(), entry.key) == keys.end())
            throw UsageError(entry.source.where + ": unknown key '" + entry.key + "' in [" +
                             section + "]: expected " + join(keys, ", ") +
                             did_you_mean(entry.key, keys));
        try {
            given[entry.key] = parse_integer(entry.value, 1);
        } catch (const BadValue& problem) {
            refuse(entry.source, entry.key, entry.value, problem.what());
        }
    }
    for (const std::string& key : keys)
        if (!given.contains(key))
            throw UsageError(source.where + ": [" + section + "] lacks " + key + ": it needs " +
                             join(keys, ", "));
    const ModelConfig config{given["d-model"], given["d-ff"], given["num-layers"],
                             given["num-heads"]};
    if (const std::string reason = invalid_reason(config); !reason.empty())
        throw UsageError(source.where + ": [" + section + "]: " + reason);
    if (find_model_config(name))
        throw UsageError(source.where + ": [" + section + "]: " + name +
                         " is a known size; choose another name");
    grid.models[name] = config;
}

[[noreturn]] void refuse_unknown_key(const Source& source, const std::string& key) {
    const std::string name = source.where.starts_with("--") ? "unknown flag '" : ": unknown key '";
    throw UsageError((source.where.starts_with("--") ? "" : source.where) + name +
                     (source.where.starts_with("--") ? "--" : "") + key + "'" +
                     did_you_mean(key, all_keys()));
}

/// Puts what the config's sections say into `grid`; [model.X] first, since [size.X] may name them.
void read_sections(Grid& grid, const std::vector<ConfigEntry>& entries) {
    std::vector<std::string> done;
    for (const ConfigEntry& entry : entries)
        if (entry.section.starts_with("model.") &&
            std::find(done.begin(), done.end(), entry.section) == done.end()) {
            done.push_back(entry.section);
            read_model_section(grid, entries, entry.section);
        }
    for (const ConfigEntry& entry : entries) {
        if (entry.section.empty() || entry.section.starts_with("model.")) continue;
        if (!entry.section.starts_with("size."))
            throw UsageError(entry.source.where + ": unknown section [" + entry.section +
                             "]: expected [size.NAME] or [model.NAME]");
        const std::string size = entry.section.substr(std::string("size.").size());
        try {
            check_axis_value("model-size", size, grid.models);
        } catch (const BadValue& problem) {
            throw UsageError(entry.source.where + ": [" + entry.section + "]: " + problem.what());
        }
        if (entry.key.empty()) continue;
        const std::string key = canonical_key(entry.key);
        if (!is_axis(key) || key == "model-size")
            throw UsageError(entry.source.where + ": " + entry.key + " in [" + entry.section +
                             "]: expected an axis other than model-size" +
                             did_you_mean(entry.key, all_keys()));
        set_axis(grid.size_values[size], key, axis_values(key, entry, grid.models));
    }
}

void apply_setting(Options& options, const SingleKey& key, const std::string& value,
                   const Source& source) {
    try {
        if (value.empty()) throw BadValue("expected a value");
        key.set(options, value);
    } catch (const BadValue& problem) {
        refuse(source, key.name, value, problem.what());
    }
}
// --- the command line ---------------------------------------------------------------------------

/// Splits arguments into flags with their words, by Program_options; every name is kept and judged
/// by the caller, so that it can name near misses.
std::vector<Flag> split_flags(const std::vector<std::string>& arguments) {
    po::options_description none;
    po::parsed_options parsed(&none);
    try {
        namespace style = po::command_line_style;
        parsed = po::command_line_parser(arguments)
                     .options(none)
                     .allow_unregistered()
                     .style(style::allow_long | style::long_allow_next | style::long_allow_adjacent)
                     .run();
    } catch (const po::error& problem) {
        throw UsageError(problem.what());
    }
    std::vector<Flag> flags;
    for (const po::option& option : parsed.options) {
        if (option.position_key >= 0 || option.string_key.empty()) {
            for (const std::string& word : option.value) {
                if (flags.empty())
                    throw UsageError("unexpected argument '" + word + "': expected a flag");
                flags.back().words.push_back(word);
            }
            continue;
        }
        Flag flag{option.string_key, {}};
        // "--key=value" keeps the value in the original token only.
        for (const std::string& token : option.original_tokens)
            if (const auto equals = token.find('=');
                token.starts_with("--") && equals != token.npos)
                flag.words.push_back(token.substr(equals + 1));
        flags.push_back(std::move(flag));
    }
    return flags;
}

std::string single_word(const Flag& flag, bool is_switch) {
    if (flag.words.empty() && is_switch) return "on";
    if (flag.words.size() != 1)
        throw UsageError("--" + flag.key + ": expected one value, got " +
                         (flag.words.empty() ? std::string("none") : join(flag.words, " ")));
    return flag.words[0];
}

/// Reads the config and then the flags into `options`; the command line wins.
void read_sweep_options(Options& options, const std::vector<Flag>& flags) {
    const std::vector<ConfigEntry> entries = read_config(options.config);
    options.output = fs::path("results") / (options.config.stem().string() + ".csv");
    read_sections(options.grid, entries);
    std::map<std::string, std::string> seen;
    for (const ConfigEntry& entry : entries) {
        if (!entry.section.empty()) continue;
        const std::string key = canonical_key(entry.key);
        if (const auto [first, is_new] = seen.emplace(key, entry.source.where); !is_new)
            throw UsageError(entry.source.where + ": " + entry.key + " is already set at " +
                             first->second);
        if (is_axis(key)) {
            set_axis(options.grid.values, key, axis_values(key, entry, options.grid.models));
        } else if (const SingleKey* setting = find_single_key(key)) {
            apply_setting(options, *setting, entry.value, entry.source);
        } else {
            refuse_unknown_key(entry.source, entry.key);
        }
    }
    seen.clear();
    for (const Flag& flag : flags) {
        const Source source{"--" + flag.key};
        const std::string key = canonical_key(flag.key);
        if (!seen.emplace(key, source.where).second)
            throw UsageError(source.where + " is given twice; give all its values to one");
        if (flag.key == "no-sync") {
            if (!flag.words.empty())
                throw UsageError("--no-sync: takes no value, got " + join(flag.words, " "));
            set_axis(options.grid.command_line, "sync", {"off"});
        } else if (is_axis(key)) {
            set_axis(options.grid.command_line, key, axis_values(key, flag, options.grid.models));
        } else if (const SingleKey* setting = find_single_key(key)) {
            apply_setting(options, *setting, single_word(flag, setting->is_switch), source);
        } else {
            refuse_unknown_key(source, flag.key);
        }
    }
}

/// What single keys cannot tell of each other.
void check_together(const Options& options) {
    if (!options.fallback.empty() && !options.bisect.empty())
        throw UsageError(
            "fallback and bisect exclude each other: the one stops at the first cell that fits, "
            "the "
            "other searches the largest; give one of them the value none");
}

Flag take_flag(std::vector<Flag>& flags, const std::string& key) {
    const auto found =
        std::find_if(flags.begin(), flags.end(), [&](const Flag& flag) { return flag.key == key; });
    if (found == flags.end()) return {};
    Flag flag = std::move(*found);
    flags.erase(found);
    return flag;
}

std::vector<Status> parse_statuses(const Flag& flag) {
    std::vector<Status> statuses;
    if (flag.key.empty())
        throw UsageError("retry needs --status LIST, as in --status oom_gpu,timeout,crash");
    for (const std::string& word : flag.words) try {
            for (const std::string& item : split_list(word)) {
                const auto status = from_name<Status>(item);
                if (!status) throw_unknown_name(item, names_of<Status>());
                statuses.push_back(*status);
            }
        } catch (const BadValue& problem) {
            refuse({"--status"}, "status", word, problem.what());
        }
    if (statuses.empty()) throw UsageError("--status: expected outcomes, as in oom_gpu,timeout");
    return statuses;
}

[[noreturn]] void refuse_unknown_flag(Verb verb, const std::string& key) {
    std::vector<std::string> known;
    for (const OwnFlag& flag : own_flags(verb)) known.push_back(flag.name);
    throw UsageError("unknown flag '--" + key + "' of " + std::string(to_name(verb)) +
                     did_you_mean(key, known));
}

/// The enumerator that a flag's one value names.
template <class E>
E named_value(const Flag& flag) {
    E named{};
    const std::string value = single_word(flag, false);
    try {
        set_name(named, value);
    } catch (const BadValue& problem) {
        refuse({"--" + flag.key}, flag.key, value, problem.what());
    }
    return named;
}

/// Takes a flag whose one value is a name; absent where it was not given.
template <class E>
std::optional<E> take_name(std::vector<Flag>& flags, const std::string& key) {
    const Flag flag = take_flag(flags, key);
    return flag.key.empty() ? std::nullopt : std::optional(named_value<E>(flag));
}

/// Takes a flag that stands alone. \returns whether it was given
bool take_switch(std::vector<Flag>& flags, const std::string& key) {
    const Flag flag = take_flag(flags, key);
    if (!flag.words.empty())
        throw UsageError("--" + key + ": takes no value, got " + join(flag.words, " "));
    return !flag.key.empty();
}

/// Sources and flags may stand in any order: behind a flag's own value words are sources again.
void read_merge(Command& command, std::vector<std::string> arguments) {
    MergeOptions& merge = command.merge;
    const auto first_flag =
        std::find_if(arguments.begin(), arguments.end(),
                     [](const std::string& word) { return word.starts_with('-'); });
    merge.sources.assign(arguments.begin(), first_flag);
    arguments.erase(arguments.begin(), first_flag);
    std::replace(arguments.begin(), arguments.end(), std::string("-o"), std::string("--output"));
    for (Flag& flag : split_flags(arguments)) {
        const bool is_switch = flag.key == "allow-mixed";
        const std::size_t own = std::min<std::size_t>(flag.words.size(), is_switch ? 0 : 1);
        const auto others = flag.words.begin() + static_cast<std::ptrdiff_t>(own);
        merge.sources.insert(merge.sources.end(), others, flag.words.end());
        flag.words.erase(others, flag.words.end());
        if (flag.key == "output")
            merge.output = single_word(flag, false);
        else if (flag.key == "prefer")
            merge.prefer = named_value<Prefer>(flag);
        else if (is_switch)
            merge.allow_mixed = true;
        else
            refuse_unknown_flag(Verb::merge, flag.key);
    }
    if (merge.sources.empty())
        throw UsageError(
            "merge needs the sweeps to join, as in: isosweep merge results/a.csv results/b.csv "
            "-o results/c.csv");
    if (merge.output.extension() != ".csv")
        throw UsageError(merge.output.empty()
                             ? "merge needs the CSV to write, as in: -o results/c.csv"
                             : "--output = '" + merge.output.string() +
                                   "': expected a file NAME.csv");
}

void read_report(Command& command, std::vector<Flag> flags) {
    command.view = take_name<View>(flags, "view");
    command.format = take_name<Format>(flags, "format");
    if (const Flag flag = take_flag(flags, "output"); !flag.key.empty())
        command.report = single_word(flag, false);
    if (const Flag flag = take_flag(flags, "plots"); !flag.key.empty())
        command.plots = single_word(flag, false);
    if (!flags.empty()) refuse_unknown_flag(Verb::report, flags[0].key);
    const fs::path target = command.report;
    if (target.extension() == ".csv" && command.format.value_or(Format::text) != Format::csv)
        throw UsageError("--output = '" + target.string() +
                         "': expected another ending for a report that is no CSV, or --format csv");
    if (fs::exists(fs::path(target).replace_extension() / "journal.jsonl"))
        throw UsageError("--output = '" + target.string() +
                         "': a sweep's own CSV; choose another file for the report");
    if (command.subject.extension() == ".csv") {
        command.options.output = command.subject;
        return;
    }
    command.options.config = command.subject;
    read_sweep_options(command.options, {});
}

/// "2/8".
PlanShard read_shard(const std::string& word) {
    constexpr std::int64_t most = 1'000'000;  // as many as a plan has cells
    const UsageError wrong("shard '" + word +
                           "': expected which shard of how many, 1/8 to 8/8, as in: isosweep "
                           "shard 1/8 configs/full.cfg");
    const auto slash = std::min(word.find('/'), word.size());
    try {
        const PlanShard shard{parse_integer(word.substr(0, slash), 1),
                              parse_integer(word.substr(std::min(slash + 1, word.size())), 1)};
        if (shard.number > shard.count || shard.count > most) throw wrong;
        return shard;
    } catch (const BadValue&) {
        throw wrong;
    }
}

/// Gives a shard an output of its own beside that of the whole sweep.
void name_shards_output(Options& options) {
    options.output.replace_filename(options.output.stem().string() + ".shard-" +
                                    std::to_string(options.shard->number) + "-of-" +
                                    std::to_string(options.shard->count) + ".csv");
}

std::string read_completion(const std::vector<std::string>& arguments) {
    const auto shell = arguments.size() == 2 ? from_name<Shell>(arguments[1]) : std::nullopt;
    if (!shell)
        throw UsageError(
            "completion needs the name of a shell: isosweep completion bash, or isosweep "
            "completion zsh");
    return completion_script(*shell);
}

/// The name of a cell's field that a person called "cuda-graph", "cuda_graph" or "axis.NAME".
std::string field_name(const std::string& text) {
    if (is_custom_axis(text)) return text.substr(std::string("axis.").size());
    return replace_all(canonical_key(replace_all(text, '_', '-')), '-', '_');
}

AxisPair parse_axis_pair(const std::string& text) {
    const auto equals = text.find('=');
    const auto colon = text.find(':', equals == text.npos ? 0 : equals);
    if (equals == text.npos || colon == text.npos)
        throw BadValue("expected FIELD=A:B, as in kernels=reference:fused");
    return {field_name(text.substr(0, equals)), text.substr(equals + 1, colon - equals - 1),
            text.substr(colon + 1)};
}

/// "1", "0.5%": percent as a fraction. \throws BadValue
double parse_threshold(const std::string& text) {
    const std::string_view digits =
        std::string_view(text).substr(0, text.size() - (text.ends_with('%') ? 1 : 0));
    double percent = 0;
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), percent);
    if (problem != std::errc{} || end != digits.data() + digits.size() || !(percent > 0) ||
        percent > 100)
        throw BadValue("expected percent above 0 and up to 100, as in 0.5");
    return percent / 100;
}

void read_compare(CompareOptions& options, const std::vector<Flag>& flags) {
    for (const Flag& flag : flags) {
        try {
            if (flag.key == "threshold") {
                options.threshold = parse_threshold(single_word(flag, false));
            } else if (flag.key == "force") {
                options.force = parse_switch(single_word(flag, true));
            } else if (flag.key == "format") {
                options.format = named_value<ComparisonFormat>(flag);
            } else if (flag.key == "output") {
                options.output = single_word(flag, false);
                if (options.output.extension() == ".csv")
                    throw BadValue("expected another ending: a comparison is no CSV");
            } else if (flag.key == "ignore") {
                for (const std::string& word : flag.words)
                    for (const std::string& name : split_list(word))
                        options.ignored.push_back(field_name(name));
                if (flag.words.empty()) throw BadValue("expected fields, as in kernels");
            } else if (flag.key == "by") {
                for (const std::string& word : flag.words)
                    options.by.push_back(parse_axis_pair(word));
                if (flag.words.empty()) throw BadValue("expected FIELD=A:B");
            } else {
                refuse_unknown_flag(Verb::compare, flag.key);
            }
        } catch (const BadValue& problem) {
            refuse({"--" + flag.key}, flag.key, join(flag.words, " "), problem.what());
        }
    }
}

}  // namespace

Options read_options(const fs::path& config) {
    Options options;
    options.config = config;
    read_sweep_options(options, {});
    return options;
}

std::string to_text(const PlanShard& shard) {
    return std::to_string(shard.number) + "/" + std::to_string(shard.count);
}

fs::path Options::folder() const {
    fs::path folder = output;
    return folder.replace_extension();
}

Command parse_command_line(std::vector<std::string> arguments) {
    Command command;
    if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" ||
        arguments[0] == "help") {
        command.print = overview;
        return command;
    }
    if (arguments[0] == "--version") {
        command.print = version_text();
        return command;
    }
    const auto verb = from_name<Verb>(arguments[0]);
    if (!verb)
        throw UsageError("unknown command '" + arguments[0] + "': expected one of " +
                         join(names_of<Verb>(), ", ") +
                         did_you_mean(arguments[0], names_of<Verb>()));
    command.verb = *verb;
    if (std::any_of(arguments.begin(), arguments.end(),
                    [](const std::string& word) { return word == "--help" || word == "-h"; })) {
        command.print = help_of(*verb);
        return command;
    }
    if (*verb == Verb::merge) {
        read_merge(command, {arguments.begin() + 1, arguments.end()});
        return command;
    }
    if (*verb == Verb::completion) {
        command.print = read_completion(arguments);
        return command;
    }
    if (*verb == Verb::compare) {
        if (arguments.size() < 3 || arguments[1].starts_with('-') || arguments[2].starts_with('-'))
            throw UsageError(
                "compare needs two sweeps right behind it, as in: isosweep compare "
                "results/before.csv results/after.csv");
        command.compare.a = arguments[1];
        command.compare.b = arguments[2];
        read_compare(command.compare, split_flags({arguments.begin() + 3, arguments.end()}));
        return command;
    }
    if (*verb == Verb::shard) {
        command.options.shard = read_shard(arguments.size() < 2 ? "" : arguments[1]);
        arguments.erase(arguments.begin() + 1);
    }
    if (arguments.size() < 2 || arguments[1].starts_with('-'))
        throw UsageError(arguments[0] + " needs a config right behind it, as in: isosweep " +
                         arguments[0] + " configs/smoke.cfg");
    std::vector<Flag> flags = split_flags({arguments.begin() + 2, arguments.end()});
    command.subject = arguments[1];
    if (*verb == Verb::report) {
        read_report(command, std::move(flags));
        return command;
    }
    if (*verb == Verb::status) {
        command.follow = take_switch(flags, "follow");
        if (take_switch(flags, "json")) command.status_format = StatusFormat::json;
    }
    if (*verb == Verb::retry) command.statuses = parse_statuses(take_flag(flags, "status"));
    if (*verb == Verb::plan) command.format = take_name<Format>(flags, "format");
    command.options.config = arguments[1];
    read_sweep_options(command.options, flags);
    check_together(command.options);
    if (command.options.shard) name_shards_output(command.options);
    const bool names_rule = std::any_of(flags.begin(), flags.end(), [](const Flag& flag) {
        return flag.key == "fallback" || flag.key == "bisect";
    });
    command.plans_fallbacks =
        names_rule && !(command.options.fallback.empty() && command.options.bisect.empty());
    return command;
}

}  // namespace isosweep
