#include "orchestrator/keys.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "orchestrator/config_reader.h"
#include "orchestrator/fallback.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

std::chrono::milliseconds parse_limit(const std::string& text) {
    const std::chrono::milliseconds limit(parse_duration_ms(text));
    if (limit.count() == 0) throw BadValue("expected a duration above 0, as in 10m");
    return limit;
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

/// Views that the CSV of a sweep can have; of the others a row is no cell, or not each cell a row.
std::vector<std::string> csv_views() { return {"cells", "warmup", "phases"}; }

View parse_csv_view(const std::string& text) {
    const std::vector<std::string> names = csv_views();
    if (std::find(names.begin(), names.end(), text) == names.end()) throw_unknown_name(text, names);
    return *from_name<View>(text);
}

Order parse_order(const std::string& text) {
    const std::vector<std::string> names = {"grid", "shuffle"};
    const std::string name = text.substr(0, text.find(':'));
    if (text == "grid") return {};
    if (name != "shuffle")
        throw BadValue("expected grid, shuffle or shuffle:SEED" + did_you_mean(name, names));
    Order order{.is_shuffled = true};
    if (name != text) order.seed = parse_integer(text.substr(name.size() + 1), 0);
    return order;
}

}  // namespace

std::vector<std::string> split_list(std::string_view text, bool quotes) {
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

const std::vector<SingleKey>& single_keys() {
    static const std::vector<SingleKey> table = {
        {"gpu-memory-limit", "none",
         "bytes or 24GiB: a large GPU behaves as a small one; part of the cell", false,
         [](Options& o, const std::string& v) {
             parse_field(v, Field{"gpu_memory_limit", FieldKind::setting, 0, ""},
                         o.grid.gpu_memory_limit);
         }},
        {"passes",
         "memory",
         "beside the measured steps: memory, pipelined, energy, or none",
         false,
         [](Options& o, const std::string& v) {
             parse_field(v, Field{"passes", FieldKind::setting, 0, ""}, o.grid.passes);
         },
         {"memory", "pipelined", "energy", "none"}},
        {"replicates", "1", "plan every cell so many times, each its own process and row", false,
         [](Options& o, const std::string& v) { o.grid.replicates = parse_integer(v, 1); }},
        {"isolation", "process", "process: a fresh worker per cell; shared: one worker for all",
         false, [](Options& o, const std::string& v) { set_name(o.isolation, v); },
         names_of<Isolation>()},
        {"standby", "context",
         "the next worker starts beside what is not timed: off, libraries, context", false,
         [](Options& o, const std::string& v) { set_name(o.standby, v); }, names_of<StandbyMode>()},
        {"output", "results/CONFIG.csv", "the CSV; journal and logs lie in a folder beside it",
         false,
         [](Options& o, const std::string& v) {
             if (fs::path(v).extension() != ".csv") throw BadValue("expected a file NAME.csv");
             o.output = v;
         }},
        {"view", "cells", "layout of the CSV: cells, warmup, phases", false,
         [](Options& o, const std::string& v) { o.view = parse_csv_view(v); }, csv_views()},
        {"gpus", "all", "GPUs to use, by index or UUID: one worker each", false,
         [](Options& o, const std::string& v) {
             o.gpus = v == "all" ? std::vector<std::string>() : split_list(v);
         }},
        {"jobs", "1", "workers at a time on CPU or behind a launcher", false,
         [](Options& o, const std::string& v) {
             o.jobs = parse_integer(v, 1);
             if (o.jobs > 10'000) throw BadValue("expected at most 10000");
         }},
        {"cpu-affinity", "auto",
         "CPUs of several workers: auto (each its share, near its GPU), off (all for all)", false,
         [](Options& o, const std::string& v) { set_name(o.cpu_affinity, v); },
         names_of<CpuAffinity>()},
        {"order", "grid", "in which cells are run: grid (the plan's), shuffle, shuffle:SEED", false,
         [](Options& o, const std::string& v) { o.order = parse_order(v); }},
        {"canary", "off", "measure a fixed cell between blocks of 10, and again what drifted", true,
         [](Options& o, const std::string& v) { o.canary = parse_switch(v); }},
        {"timeout", "10m", "limit from the request to its result", false,
         [](Options& o, const std::string& v) { o.timeout = parse_limit(v); }},
        {"stall-timeout", "none", "limit without any sign of life from the worker (a phase line)",
         false,
         [](Options& o, const std::string& v) {
             o.stall_timeout.reset();
             if (v != "none") o.stall_timeout = parse_limit(v);
         }},
        {"start-timeout", "60s", "limit from the spawn to the worker's hello", false,
         [](Options& o, const std::string& v) { o.start_timeout = parse_limit(v); }},
        {"kill-grace", "5s", "time between asking a worker to end and killing it", false,
         [](Options& o, const std::string& v) { o.kill_grace = parse_limit(v); }},
        {"gpu-timeout", "30s", "limit for a GPU to be as before when a worker has ended on it",
         false, [](Options& o, const std::string& v) { o.gpu_timeout = parse_limit(v); }},
        {"memory-limit", "none", "bytes or 24GiB: what a worker may take of the host's memory",
         false,
         [](Options& o, const std::string& v) {
             parse_field(v, Field{"memory_limit", FieldKind::setting, 0, ""}, o.memory_limit);
         }},
        {"retry", "crash:1,spawn_failed:3", "further attempts by outcome, or none", false,
         [](Options& o, const std::string& v) { o.retry = parse_retry(v); }},
        {"fallback", "none",
         "after oom_gpu run smaller cells: batch-size/2, precision:bf16, ... (a comma list)", false,
         [](Options& o, const std::string& v) { o.fallback = parse_fallback(v).text; }},
        {"bisect", "none", "search the largest batch-size or context-length that fits, per cell",
         false, [](Options& o, const std::string& v) { o.bisect = parse_bisect(v).text; }},
        {"prune", "off", "skip a cell that must lack GPU memory since a smaller one does", true,
         [](Options& o, const std::string& v) { o.prune = parse_switch(v); }},
        {"learn-from", "none",
         "prune and predict by the journal of an earlier run on such a GPU, too", false,
         [](Options& o, const std::string& v) { o.learn_from = v == "none" ? "" : v; }},
        {"fitting", "off", "skip a cell that is predicted not to fit into the GPU's memory", true,
         [](Options& o, const std::string& v) { o.fitting = parse_switch(v); }},
        {"gpu-memory", "the GPU's", "bytes or 24GiB: what predictions of memory are held against",
         false,
         [](Options& o, const std::string& v) {
             parse_field(v, Field{"gpu_memory", FieldKind::setting, 0, ""}, o.gpu_memory);
         }},
        {"max-failures", "none", "stop when so many cells have failed", false,
         [](Options& o, const std::string& v) {
             o.max_failures.reset();
             if (v != "none") o.max_failures = parse_integer(v, 1);
         }},
        {"fail-fast", "off", "stop at the first cell that fails", true,
         [](Options& o, const std::string& v) { o.fail_fast = parse_switch(v); }},
        {"fail-on",
         "none",
         "oom: running out of memory counts as a failure",
         false,
         [](Options& o, const std::string& v) {
             if (v != "oom" && v != "none") throw BadValue("expected oom or none");
             o.fail_on_oom = v == "oom";
         },
         {"oom", "none"}},
        {"strict", "off", "a cell that is ok but carries flags counts as failed", true,
         [](Options& o, const std::string& v) { o.strict = parse_switch(v); }},
        {"launcher", "none", "a command put in front of the worker, as in 'numactl --localalloc'",
         false,
         [](Options& o, const std::string& v) {
             o.launcher = v == "none" ? std::vector<std::string>() : split_words(v);
         }},
        {"worker", "beside isosweep", "another worker program", false,
         [](Options& o, const std::string& v) { o.worker = v; }},
        {"fresh", "off", "start over; the old run is kept beside the new one", true,
         [](Options& o, const std::string& v) { o.fresh = parse_switch(v); }},
        {"allow-mixed", "off", "go on with another build, GPU or driver; the rows say which", true,
         [](Options& o, const std::string& v) { o.allow_mixed = parse_switch(v); }},
        {"markdown", "off", "print the table as Markdown, too", true,
         [](Options& o, const std::string& v) { o.markdown = parse_switch(v); }},
        {"only", "none", "run just the cell with this key, in the foreground, recording nothing",
         false, [](Options& o, const std::string& v) { o.only = v == "none" ? "" : v; }},
    };
    return table;
}

const SingleKey* find_single_key(const std::string& name) {
    for (const SingleKey& key : single_keys())
        if (key.name == name) return &key;
    return nullptr;
}

const std::vector<OwnFlag>& own_flags(Verb verb) {
    static const std::map<Verb, std::vector<OwnFlag>> table = {
        {Verb::plan, {{"format", "how the table is printed", false, names_of<Format>()}}},
        {Verb::retry, {{"status", "outcomes to run again", false, names_of<Status>()}}},
        {Verb::status,
         {{"follow", "print it again whenever it changes, until the sweep ends", true},
          {"json", "as one JSON object", true}}},
        {Verb::report,
         {{"view", "which table", false, names_of<View>()},
          {"format", "how it is printed", false, names_of<Format>()},
          {"output", "the file to write, instead of stdout"},
          {"plots", "the folder to write plots to"}}},
        {Verb::compare,
         {{"by", "a field's value in A against another in B, as in kernels=reference:fused"},
          {"ignore", "fields in which the same cells may differ"},
          {"threshold", "what is worth a word, in percent"},
          {"force", "compare different machines all the same", true},
          {"format", "how it is printed", false, names_of<ComparisonFormat>()},
          {"output", "the file to write, instead of stdout"}}},
        {Verb::merge,
         {{"output", "the CSV to write"},
          {"prefer", "which of two outcomes to take", false, names_of<Prefer>()},
          {"allow-mixed", "join what was measured with another build, GPU or driver", true}}}};
    static const std::vector<OwnFlag> none;
    const auto found = table.find(verb);
    return found == table.end() ? none : found->second;
}

bool takes_keys(Verb verb) {
    return verb == Verb::run || verb == Verb::shard || verb == Verb::plan || verb == Verb::retry ||
           verb == Verb::status;
}

bool is_custom_axis(std::string_view key) { return key.starts_with("axis.") && key.size() > 5; }

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
    for (const SingleKey& key : single_keys()) keys.push_back(key.name);
    keys.emplace_back("axis.NAME");
    return keys;
}

}  // namespace isosweep
