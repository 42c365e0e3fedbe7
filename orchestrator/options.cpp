#include "orchestrator/options.h"

#include <isosweep/build_info.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <functional>
#include <sstream>

#include "orchestrator/columns.h"
#include "orchestrator/config_reader.h"
#include "orchestrator/errors.h"

namespace isosweep {
namespace po = boost::program_options;
namespace fs = std::filesystem;
namespace {

// --- the keys -----------------------------------------------------------------------------------

/// A key that takes one value.
struct Setting {
    std::string name;
    std::string default_text;
    std::string help;
    bool is_switch;
    std::function<void(Options&, const std::string&)> set;
};

std::chrono::milliseconds parse_limit(const std::string& text) {
    const std::chrono::milliseconds limit(parse_duration_ms(text));
    if (limit.count() == 0) throw BadValue("expected a duration above 0, as in 10m");
    return limit;
}

template <class E>
void set_name(E& target, const std::string& text) {
    parse_field(text, Field{"", FieldKind::setting, 0, ""}, target);
}

/// The values of a comma list. A comma inside quotes separates nothing where `quotes` count.
std::vector<std::string> split_list(std::string_view text, bool quotes = false) {
    std::vector<std::string> parts(1);
    char quote = '\0';
    for (const char c : text) {
        if (quotes && (c == quote || (quote == '\0' && (c == '"' || c == '\''))))
            quote = quote == '\0' ? c : '\0';
        if (c == ',' && quote == '\0')
            parts.emplace_back();
        else
            parts.back() += c;
    }
    for (std::string& part : parts) {
        part = trim(part);
        if (part.empty()) throw BadValue("expected a value between the commas");
    }
    return parts;
}

RetryRule parse_retry(const std::string& text) {
    RetryRule rule;
    if (text == "none") return rule;
    const std::vector<std::string> causes = {"crash",          "timeout",    "error",
                                             "invalid_result", "oom_gpu",    "oom_host",
                                             "spawn_failed",   "unsupported"};
    for (const std::string& part : split_list(text)) {
        const auto colon = part.find(':');
        const std::string cause = part.substr(0, colon);
        const auto status = from_name<Status>(cause);
        if (colon == std::string::npos || !status ||
            std::find(causes.begin(), causes.end(), cause) == causes.end())
            throw BadValue("expected OUTCOME:N,... with an outcome of " + join(causes, ", ") +
                           did_you_mean(cause, causes));
        rule[*status] = static_cast<int>(parse_integer(part.substr(colon + 1), 0));
    }
    return rule;
}

const std::vector<Setting>& settings() {
    static const std::vector<Setting> table = {
        {"gpu-memory-limit", "none",
         "bytes or 24GiB: a large GPU behaves as a small one; part of the cell", false,
         [](Options& o, const std::string& v) {
             parse_field(v, Field{"gpu_memory_limit", FieldKind::setting, 0, ""},
                         o.grid.gpu_memory_limit);
         }},
        {"replicates", "1", "plan every cell so many times, each its own process and row", false,
         [](Options& o, const std::string& v) { o.grid.replicates = parse_integer(v, 1); }},
        {"isolation", "process", "process: a fresh worker per cell; shared: one worker for all",
         false, [](Options& o, const std::string& v) { set_name(o.isolation, v); }},
        {"output", "results/CONFIG.csv", "the CSV; journal and logs lie in a folder beside it",
         false,
         [](Options& o, const std::string& v) {
             if (fs::path(v).extension() != ".csv") throw BadValue("expected a file NAME.csv");
             o.output = v;
         }},
        {"view", "cells", "layout of the CSV: cells, warmup, phases", false,
         [](Options& o, const std::string& v) { set_name(o.view, v); }},
        {"gpus", "all", "GPUs to use, by index or UUID: one worker each", false,
         [](Options& o, const std::string& v) {
             o.gpus = v == "all" ? std::vector<std::string>() : split_list(v);
         }},
        {"jobs", "1", "workers at a time on CPU or behind a launcher", false,
         [](Options& o, const std::string& v) {
             o.jobs = parse_integer(v, 1);
             if (o.jobs > 10'000) throw BadValue("expected at most 10000");
         }},
        {"timeout", "10m", "limit from the request to its result", false,
         [](Options& o, const std::string& v) { o.timeout = parse_limit(v); }},
        {"start-timeout", "60s", "limit from the spawn to the worker's hello", false,
         [](Options& o, const std::string& v) { o.start_timeout = parse_limit(v); }},
        {"kill-grace", "5s", "time between asking a worker to end and killing it", false,
         [](Options& o, const std::string& v) { o.kill_grace = parse_limit(v); }},
        {"retry", "crash:1,spawn_failed:3", "further attempts by outcome, or none", false,
         [](Options& o, const std::string& v) { o.retry = parse_retry(v); }},
        {"max-failures", "none", "stop when so many cells have failed", false,
         [](Options& o, const std::string& v) {
             o.max_failures.reset();
             if (v != "none") o.max_failures = parse_integer(v, 1);
         }},
        {"fail-fast", "off", "stop at the first cell that fails", true,
         [](Options& o, const std::string& v) { o.fail_fast = parse_switch(v); }},
        {"fail-on", "none", "oom: running out of memory counts as a failure", false,
         [](Options& o, const std::string& v) {
             if (v != "oom" && v != "none") throw BadValue("expected oom or none");
             o.fail_on_oom = v == "oom";
         }},
        {"launcher", "none", "a command put in front of the worker, as in 'numactl --localalloc'",
         false,
         [](Options& o, const std::string& v) {
             o.launcher = v == "none" ? std::vector<std::string>() : split_words(v);
         }},
        {"worker", "beside isosweep", "another worker program", false,
         [](Options& o, const std::string& v) { o.worker = v; }},
        {"fresh", "off", "start over; the old run is kept beside the new one", true,
         [](Options& o, const std::string& v) { o.fresh = parse_switch(v); }},
        {"markdown", "off", "print the table as Markdown, too", true,
         [](Options& o, const std::string& v) { o.markdown = parse_switch(v); }},
        {"only", "none", "run just the cell with this key, in the foreground, recording nothing",
         false, [](Options& o, const std::string& v) { o.only = v == "none" ? "" : v; }},
    };
    return table;
}

const Setting* find_setting(const std::string& name) {
    for (const Setting& setting : settings())
        if (setting.name == name) return &setting;
    return nullptr;
}

/// Calls `visit(Field, member of a default cell)` for each axis.
template <class Visit>
void for_each_axis(Visit&& visit) {
    static const Cell defaults;
    for_each_field(defaults, [&](const Field& field, const auto& value) {
        if (field.kind == FieldKind::axis) visit(field, value);
    });
}

bool is_custom_axis(std::string_view key) { return key.starts_with("axis.") && key.size() > 5; }

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

/// The key that `name` means: plurals of axes are accepted.
std::string canonical_key(const std::string& name) {
    std::string key = name;
    for_each_axis([&](const Field& field, const auto&) {
        if (name == field.key() + "s") key = field.key();
    });
    return key;
}

bool is_axis(const std::string& key) {
    bool found = is_custom_axis(key);
    for_each_axis([&](const Field& field, const auto&) { found = found || key == field.key(); });
    return found;
}

std::vector<std::string> all_keys() {
    std::vector<std::string> keys;
    for_each_axis([&](const Field& field, const auto&) { keys.push_back(field.key()); });
    for (const Setting& setting : settings()) keys.push_back(setting.name);
    keys.emplace_back("axis.NAME");
    return keys;
}

/// What a flag of the command line was given.
struct Flag {
    std::string key;
    std::vector<std::string> words;
};

// --- values -------------------------------------------------------------------------------------

[[noreturn]] void refuse(const Source& source, const std::string& key, const std::string& value,
                         const std::string& why) {
    const bool is_flag = source.where.starts_with("--");
    throw UsageError(source.where + (is_flag ? "" : ": " + key) + " = '" + one_line(value, 120) +
                     "': " + why);
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

/// Checks one value of an axis and gives it in the form that the plan reads.
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

/// A config's "512, 1024 2048": values with commas or blanks between them, quotes as in a shell.
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

/// A flag's words, each of which may be a comma list.
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

void apply_setting(Options& options, const Setting& setting, const std::string& value,
                   const Source& source) {
    try {
        if (value.empty()) throw BadValue("expected a value");
        setting.set(options, value);
    } catch (const BadValue& problem) {
        refuse(source, setting.name, value, problem.what());
    }
}

// --- the command line ---------------------------------------------------------------------------

po::options_description sweep_flags() {
    constexpr unsigned width = 100;
    po::options_description axes(
        "Axes (a comma list, several words, or a range a..b, a..b+step, "
        "a..b*factor)",
        width, width / 2);
    for_each_axis([&](const Field& field, const auto& value) {
        axes.add_options()(field.key().c_str(),
                           po::value<std::vector<std::string>>()->multitoken()->value_name(
                               "[=" + to_text(value) + "]"),
                           std::string(field.help).c_str());
    });
    axes.add_options()("axis.NAME",
                       po::value<std::vector<std::string>>()->multitoken()->value_name("VALUES"),
                       "a further axis, for a worker of your own");
    po::options_description others("Settings", width, width / 2);
    for (const Setting& setting : settings()) {
        auto* value = po::value<std::string>()->value_name("[=" + setting.default_text + "]");
        others.add_options()(setting.name.c_str(), value, setting.help.c_str());
    }
    others.add_options()("no-sync", "the same as --sync off");
    po::options_description all(width, width / 2);
    all.add(axes).add(others);
    return all;
}

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
        } else if (const Setting* setting = find_setting(key)) {
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
        } else if (const Setting* setting = find_setting(key)) {
            apply_setting(options, *setting, single_word(flag, setting->is_switch), source);
        } else {
            refuse_unknown_key(source, flag.key);
        }
    }
}

// --- help ---------------------------------------------------------------------------------------

constexpr const char* overview =
    R"(isosweep measures Transformer models over a grid of settings, each cell in a process of its own.

Usage:
  isosweep run CONFIG [--key value ...]       plan, run what is missing, write the CSV; the same
                                              command again goes on where it stopped
  isosweep retry CONFIG --status LIST         run again the cells with one of these outcomes
  isosweep plan CONFIG [--key value ...]      run nothing: list the cells and their keys
  isosweep status CONFIG                      done, running, failed and left
  isosweep report CONFIG_OR_CSV [--view V] [--format F] [--output FILE]
                                              the table: view cells, warmup or phases; format
                                              text, markdown or csv
  isosweep COMMAND --help                     every flag of a command
  isosweep --version

Every flag of run and plan is also a key of a config file (key = value), and the reverse.

Examples:
  isosweep run configs/smoke.cfg
  isosweep run configs/run_benchmarks.cfg --model-sizes small medium --precision bf16
  isosweep retry configs/full.cfg --status timeout,crash

Exit codes of run and retry: 0 every cell has an outcome and none failed, 1 some failed, 2 usage or
config, 3 another run holds the output, 4 results cannot be written, 5 the environment is unusable,
130 after Ctrl-C.
)";

std::string help_of(Verb verb) {
    std::ostringstream text;
    const auto sweep = [&](const char* usage) { text << usage << "\n" << sweep_flags(); };
    switch (verb) {
        case Verb::run:
            sweep(
                "Usage: isosweep run CONFIG [--key value ...]\n\n"
                "Plans the cells of CONFIG, runs those that have no outcome yet, and writes the "
                "CSV.\nEvery flag is also a key of the config; the flag wins.\n");
            break;
        case Verb::plan:
            sweep(
                "Usage: isosweep plan CONFIG [--key value ...]\n\n"
                "Lists the cells that `run` would plan, with their keys and what is known of "
                "them. Runs nothing.\n");
            break;
        case Verb::retry:
            sweep(
                "Usage: isosweep retry CONFIG --status LIST [--key value ...]\n\n"
                "Runs again just the planned cells whose outcome is in LIST: ok, oom_gpu, "
                "oom_host,\ntimeout, crash, error, unsupported, invalid_result, spawn_failed, "
                "interrupted.\nThe other flags are those of `run`.\n");
            break;
        case Verb::status:
            sweep(
                "Usage: isosweep status CONFIG [--key value ...]\n\n"
                "Says how far a sweep is, also while it runs elsewhere. The flags are those of "
                "`run`:\ngive the same ones.\n");
            break;
        case Verb::report:
            text << "Usage: isosweep report CONFIG_OR_CSV [--view cells|warmup|phases]\n"
                    "                       [--format text|markdown|csv] [--output FILE]\n\n"
                    "Prints the table of a sweep, from its journal where a config is given, from "
                    "the file\nwhere a CSV is.\n";
            break;
    }
    return text.str();
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

void read_report(Command& command, std::vector<Flag> flags) {
    const auto take_name = [&]<class E>(const std::string& key, E& target) {
        const Flag flag = take_flag(flags, key);
        if (flag.key.empty()) return false;
        const std::string value = single_word(flag, false);
        try {
            set_name(target, value);
        } catch (const BadValue& problem) {
            refuse({"--" + key}, key, value, problem.what());
        }
        return true;
    };
    View view{};
    if (take_name("view", view)) command.view = view;
    take_name("format", command.format);
    if (const Flag flag = take_flag(flags, "output"); !flag.key.empty())
        command.report = single_word(flag, false);
    if (!flags.empty()) {
        const std::vector<std::string> known = {"view", "format", "output"};
        throw UsageError("unknown flag '--" + flags[0].key + "' of report" +
                         did_you_mean(flags[0].key, known));
    }
    const fs::path target = command.report;
    if (target.extension() == ".csv" && command.format != Format::csv)
        throw UsageError("--output = '" + target.string() +
                         "': expected another ending for a report that is no CSV, or --format csv");
    if (fs::exists(fs::path(target).replace_extension() / "journal.jsonl"))
        throw UsageError("--output = '" + target.string() +
                         "': a sweep's own CSV; choose another file for the report");
    if (command.subject.extension() == ".csv") return;
    command.options.config = command.subject;
    read_sweep_options(command.options, {});
}

}  // namespace

fs::path Options::folder() const {
    fs::path folder = output;
    return folder.replace_extension();
}

Command parse_command_line(const std::vector<std::string>& arguments) {
    Command command;
    if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" ||
        arguments[0] == "help") {
        command.print = overview;
        return command;
    }
    if (arguments[0] == "--version") {
        command.print = "isosweep " + build_id() + "\n";
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
    if (arguments.size() < 2 || arguments[1].starts_with('-'))
        throw UsageError(arguments[0] + " needs a config right behind it, as in: isosweep " +
                         arguments[0] + " configs/smoke.cfg");
    std::vector<Flag> flags = split_flags({arguments.begin() + 2, arguments.end()});
    command.subject = arguments[1];
    if (*verb == Verb::report) {
        read_report(command, std::move(flags));
        return command;
    }
    if (*verb == Verb::retry) command.statuses = parse_statuses(take_flag(flags, "status"));
    command.options.config = arguments[1];
    read_sweep_options(command.options, flags);
    return command;
}

}  // namespace isosweep
