#pragma once

#include <isosweep/cell.h>
#include <isosweep/outcome.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace isosweep {

enum class Isolation { process, shared };
template <>
struct EnumNames<Isolation> {
    static constexpr std::pair<Isolation, std::string_view> value[] = {
        {Isolation::process, "process"}, {Isolation::shared, "shared"}};
};

/// How far the next worker is when the one before it ends.
enum class StandbyMode {
    off,        ///< it is started then
    libraries,  ///< it has loaded its libraries
    context,    ///< it also creates its context on the GPU while the one before ends
};
template <>
struct EnumNames<StandbyMode> {
    static constexpr std::pair<StandbyMode, std::string_view> value[] = {
        {StandbyMode::off, "off"},
        {StandbyMode::libraries, "libraries"},
        {StandbyMode::context, "context"}};
};

/// Which CPUs the workers of several slots run on.
enum class CpuAffinity {
    automatic,  ///< each slot's on its share of the cores, beside its GPU where that is known
    off,        ///< all on all
};
template <>
struct EnumNames<CpuAffinity> {
    static constexpr std::pair<CpuAffinity, std::string_view> value[] = {
        {CpuAffinity::automatic, "auto"}, {CpuAffinity::off, "off"}};
};

enum class View { cells, warmup, phases, memory, scaling, checks, overhead, failures, prediction };
template <>
struct EnumNames<View> {
    static constexpr std::pair<View, std::string_view> value[] = {
        {View::cells, "cells"},           {View::warmup, "warmup"},
        {View::phases, "phases"},         {View::memory, "memory"},
        {View::scaling, "scaling"},       {View::checks, "checks"},
        {View::overhead, "overhead"},     {View::failures, "failures"},
        {View::prediction, "prediction"},
    };
};

enum class Format { text, markdown, latex, typst, html, csv };
template <>
struct EnumNames<Format> {
    static constexpr std::pair<Format, std::string_view> value[] = {
        {Format::text, "text"},   {Format::markdown, "markdown"}, {Format::latex, "latex"},
        {Format::typst, "typst"}, {Format::html, "html"},         {Format::csv, "csv"},
    };
};

/// In which order a sweep's cells are run; it changes neither the plan nor the rows.
struct Order {
    bool is_shuffled = false;  ///< else the plan's
    std::int64_t seed = 1;     ///< of the shuffle
    bool operator==(const Order&) const = default;
};

/// How many further attempts each outcome gets.
using RetryRule = std::map<Status, int>;

/// Values of axes by key, in the order they were given; each value as text and known to be right.
using AxisValues = std::vector<std::pair<std::string, std::vector<std::string>>>;

/// What a config and the command line say about the cells.
struct Grid {
    std::map<std::string, ModelConfig> models;      ///< [model.NAME] sections
    std::map<std::string, AxisValues> size_values;  ///< [size.NAME] sections
    AxisValues values;                              ///< axes; "axis.NAME" for custom ones
    AxisValues command_line;                        ///< axes that win over both
    OptionalBytes gpu_memory_limit;
    Passes passes;
    std::int64_t replicates = 1;
};

/// Everything that `run` and `plan` know; the keys of interfaces, with their defaults.
/// One of the equal parts that a plan is cut into.
struct PlanShard {
    std::int64_t number = 1;  ///< from 1
    std::int64_t count = 1;
};

/// "2/8".
std::string to_text(const PlanShard& shard);

struct Options {
    std::filesystem::path config;
    Grid grid;
    std::filesystem::path output;
    View view = View::cells;  ///< of the CSV: cells, warmup or phases
    Isolation isolation = Isolation::process;
    StandbyMode standby = StandbyMode::context;
    std::vector<std::string> gpus;  ///< indices or UUIDs; empty: all
    std::int64_t jobs = 1;
    CpuAffinity cpu_affinity = CpuAffinity::automatic;
    Order order;
    bool canary = false;  ///< a fixed cell is measured between blocks of others
    std::chrono::milliseconds timeout{600'000};
    std::optional<std::chrono::milliseconds> stall_timeout;
    std::chrono::milliseconds start_timeout{60'000};
    std::chrono::milliseconds kill_grace{5'000};
    std::chrono::milliseconds gpu_timeout{30'000};
    RetryRule retry = {{Status::crash, 1}, {Status::spawn_failed, 3}};
    std::string fallback;              ///< a rule of orchestrator/fallback; empty: none
    std::string bisect;                ///< likewise
    bool prune = false;                ///< skip what must lack memory since a smaller cell does
    std::filesystem::path learn_from;  ///< a journal whose cells count for that, too
    OptionalBytes gpu_memory;          ///< what to foresee against, instead of the GPU's own
    bool fitting = false;              ///< skip what is predicted not to fit
    std::optional<std::int64_t> max_failures;
    bool fail_fast = false;
    bool fail_on_oom = false;
    bool strict = false;         ///< an ok cell with flags counts as failed
    OptionalBytes memory_limit;  ///< of the host, for each worker
    std::vector<std::string> launcher;
    std::filesystem::path worker;  ///< empty: the one beside this program
    bool fresh = false;
    bool allow_mixed = false;  ///< go on with another build, GPU or driver
    bool markdown = false;
    std::string only;
    std::optional<PlanShard> shard;  ///< run just these cells of the plan

    /// "results/full" for "results/full.csv": where journal, lock and logs are.
    std::filesystem::path folder() const;
};

enum class ComparisonFormat { text, markdown, json };
template <>
struct EnumNames<ComparisonFormat> {
    static constexpr std::pair<ComparisonFormat, std::string_view> value[] = {
        {ComparisonFormat::text, "text"},
        {ComparisonFormat::markdown, "markdown"},
        {ComparisonFormat::json, "json"}};
};

/// A field whose value in A is compared with another one in B.
struct AxisPair {
    std::string axis;  ///< by its name in JSON and CSV
    std::string a;
    std::string b;
};

/// What `compare` knows. A sweep is a CSV, a config or a folder.
struct CompareOptions {
    std::filesystem::path a;
    std::filesystem::path b;
    double threshold = 0.01;           ///< what is worth a word: 0.01 is 1 %
    std::vector<std::string> ignored;  ///< fields in which cells may differ, by name
    std::vector<AxisPair> by;
    bool force = false;  ///< compare different machines
    ComparisonFormat format = ComparisonFormat::text;
    std::filesystem::path output;  ///< empty: stdout
};

/// Which of two outcomes of one cell is taken.
enum class Prefer { ok, first, last, newest };
template <>
struct EnumNames<Prefer> {
    static constexpr std::pair<Prefer, std::string_view> value[] = {{Prefer::ok, "ok"},
                                                                    {Prefer::first, "first"},
                                                                    {Prefer::last, "last"},
                                                                    {Prefer::newest, "newest"}};
};

/// What `merge` is asked for.
struct MergeOptions {
    std::vector<std::filesystem::path> sources;  ///< journals, or what they belong to
    std::filesystem::path output;                ///< the CSV
    std::optional<Prefer> prefer;
    bool allow_mixed = false;  ///< join what was measured with another build, GPU or driver
};

enum class StatusFormat { text, json };

enum class Verb { run, shard, retry, plan, status, report, compare, merge, completion };
template <>
struct EnumNames<Verb> {
    static constexpr std::pair<Verb, std::string_view> value[] = {
        {Verb::run, "run"},         {Verb::shard, "shard"},   {Verb::retry, "retry"},
        {Verb::plan, "plan"},       {Verb::status, "status"}, {Verb::report, "report"},
        {Verb::compare, "compare"}, {Verb::merge, "merge"},   {Verb::completion, "completion"}};
};

/// One command line, understood.
struct Command {
    Verb verb = Verb::run;
    Options options;
    std::vector<Status> statuses;   ///< retry --status
    bool plans_fallbacks = false;   ///< retry --fallback or --bisect
    std::filesystem::path subject;  ///< report: the config or the CSV
    std::optional<View> view;       ///< report --view
    std::optional<Format> format;   ///< report --format, plan --format; text where it is not given
    std::filesystem::path report;   ///< report --output; empty: stdout
    std::filesystem::path plots;    ///< report --plots; empty: no files of plots
    std::string print;              ///< text to print instead of doing anything: --help, --version

    bool follow = false;                              ///< status --follow
    StatusFormat status_format = StatusFormat::text;  ///< status --json
    MergeOptions merge;
    CompareOptions compare;
};

/// What a config alone says. \throws UsageError with one line
Options read_options(const std::filesystem::path& config);

/// Understands a command line (without the program's name) and the config that it names.
/// \throws UsageError with one line: file and line or flag, key, value, what was expected
Command parse_command_line(std::vector<std::string> arguments);

}  // namespace isosweep
