#include "orchestrator/sweep.h"

#include <isosweep/build_info.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <cstdlib>
#include <unordered_set>

#include "orchestrator/clock.h"
#include "orchestrator/environment.h"
#include "orchestrator/errors.h"
#include "orchestrator/foreground.h"
#include "orchestrator/log.h"
#include "orchestrator/repro.h"
#include "orchestrator/table.h"
#include "orchestrator/views.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// Moves an old run out of the way: results/full and results/full.csv get its time as a suffix.
/// \returns whether there was one
bool set_aside(const Options& options) {
    const fs::path folder = options.folder();
    if (!fs::exists(folder / "journal.jsonl")) return false;
    const std::string stem = folder.string() + ".before-" + timestamp_for_names();
    std::string kept = stem;
    for (int n = 2; fs::exists(kept) || fs::exists(kept + ".csv"); ++n)
        kept = stem + "-" + std::to_string(n);
    const auto move = [](const fs::path& from, const fs::path& to) {
        std::error_code problem;
        if (fs::exists(from)) fs::rename(from, to, problem);
        if (problem)
            throw ResultsError("cannot move " + from.string() + " to " + to.string() + ": " +
                               problem.message());
    };
    move(options.output, kept + ".csv");
    move(folder, kept);
    log::notice("the old run is kept as " + kept);
    return true;
}

/// Refuses to lay a sweep into a folder that holds something else.
void check_folder(const Options& options) {
    const fs::path folder = options.folder();
    std::error_code problem;
    if (!fs::is_directory(folder, problem) || fs::is_empty(folder, problem) ||
        fs::exists(folder / "lock", problem))
        return;
    throw UsageError("output = '" + options.output.string() + "': its folder " + folder.string() +
                     " holds something else; choose another --output");
}

Setting setting_of(const Options& options, const DeviceChoice& choice,
                   const GpuInventory& inventory, const std::vector<Gpu>& gpus) {
    Setting setting;
    setting.isosweep = build_id();
    setting.isolation = to_name(options.isolation);
    setting.device = to_name(choice.device);
    setting.device_warning = choice.warning;
    setting.gpu = describe_gpus(gpus);
    if (!gpus.empty()) setting.driver = inventory.driver;
    return setting;
}

/// Refuses to go on with a sweep that was begun with something else.
void check_same(const Setting& then, const Setting& now, const fs::path& journal) {
    const auto compare = [&](const char* what, const std::string& was, const std::string& is) {
        if (was != is)
            throw UsageError(journal.string() + ": this sweep was begun with " + what + " '" + was +
                             "', now it is '" + is +
                             "': go on with the former, or start over with --fresh");
    };
    if (then.device == "cuda" && now.gpu.empty())
        throw EnvironmentError(journal.string() + ": this sweep was begun on " + then.gpu +
                               ", and there is no GPU now; bring it back, or start over with "
                               "--fresh");
    compare("isolation", then.isolation, now.isolation);
    compare("GPU", then.gpu, now.gpu);
    compare("driver", then.driver, now.driver);
    compare("isosweep", then.isosweep, now.isosweep);
}

WorkerCommand worker_command(const Options& options) {
    WorkerCommand command;
    command.argv = worker_argv(options);
    command.behind_launcher = !options.launcher.empty();
    command.timeout = options.timeout;
    command.stall_timeout = options.stall_timeout;
    command.start_timeout = options.start_timeout;
    command.kill_grace = options.kill_grace;
    if (options.memory_limit.bytes == 0) return command;
    if (command.behind_launcher)
        throw UsageError("memory-limit = " + format_bytes(options.memory_limit.bytes) +
                         ": a launcher's workers are not ours to limit; give the limit to the "
                         "launcher, as in launcher = srun --mem=24G");
    command.memory_limit = make_memory_limit(options.memory_limit.bytes);
    return command;
}

/// Ends the control groups of workers whose run was killed. The lock is ours, so that every worker
/// in the journal is one of those.
void end_leftover_groups(const Journal& journal, const std::optional<MemoryLimit>& limit) {
    for (const auto& [token, worker] : journal.workers())
        if (!worker.group.empty()) end_leftover_group(worker.group, token);
    if (!limit) return;
    // A start is written before its group is made, the worker's record after.
    for (const auto& [key, history] : journal.cells())
        if (history.open)
            end_leftover_group(group_folder(limit->home, history.token), history.token);
}

/// Keeps cells/KEY/repro.sh, which runs a cell that is not ok again alone, and its request beside
/// it; one that is ok needs none.
void update_repro(const SweepSettings& settings, const PlannedCell& planned, Status status,
                  const std::string& gpu_uuid) {
    const fs::path file = settings.cells_folder / planned.key / "repro.sh";
    const fs::path request = settings.cells_folder / planned.key / "request.json";
    if (status == Status::ok) {
        std::error_code ignored;  // most often there is none
        fs::remove(file, ignored);
        fs::remove(request, ignored);
        return;
    }
    make_folder(file.parent_path());
    const Cell cell = on_device(planned.cell, settings.device);
    write_atomically(request, repro_request(cell));
    const auto& limit = settings.worker.memory_limit;
    write_atomically(file, repro_script(cell, {settings.worker.argv, gpu_uuid,
                                               measurement_environment(own_environment()),
                                               limit ? limit->bytes : 0}));
    std::error_code ignored;  // a script that is not executable can still be run by sh
    fs::permissions(file, fs::perms::owner_exec | fs::perms::group_exec | fs::perms::others_exec,
                    fs::perm_options::add, ignored);
}

}  // namespace

Sweep::Sweep(Options options) : options_(std::move(options)), plan_(make_plan(options_.grid)) {
    const GpuInventory inventory = query_gpus();
    // A sweep that no GPU takes part in is not tied to one.
    if (uses_gpu(plan_))
        gpus_ = usable_gpus(inventory, std::getenv("CUDA_VISIBLE_DEVICES"), options_.gpus);
    DeviceChoice choice = choose_device(plan_, gpus_);
    settings_.worker = worker_command(options_);
    settings_.isolation = options_.isolation;
    settings_.retry = options_.retry;
    settings_.max_failures =
        options_.fail_fast ? std::optional<std::int64_t>(1) : options_.max_failures;
    settings_.cells_folder = options_.folder() / "cells";
    settings_.probes_folder = options_.folder() / "logs";

    const fs::path folder = options_.folder();
    check_folder(options_);
    make_folder(folder);
    lock_ = std::make_unique<OutputLock>(folder / "lock");
    if (options_.fresh && fs::exists(folder / "journal.jsonl")) try {
            end_leftover_groups(Journal::read(folder / "journal.jsonl"),
                                settings_.worker.memory_limit);
        } catch (const Failure& problem) {
            log::warning(problem.what());  // a broken journal may be why to start over
        }
    if (options_.fresh && set_aside(options_)) {
        make_folder(folder);
        lock_ = std::make_unique<OutputLock>(folder / "lock");
    }
    make_folder(folder / "logs");
    const std::string now_for_names = timestamp_for_names();
    log::open(folder / "logs" / ("run-" + now_for_names + ".log"));
    write_atomically(folder / "logs" / ("environment-" + now_for_names + ".txt"),
                     environment_text(masked_environment(own_environment())));

    const fs::path file = folder / "journal.jsonl";
    journal_ = std::make_unique<Journal>(Journal::open(file));
    end_leftover_groups(*journal_, settings_.worker.memory_limit);
    const Setting now = setting_of(options_, choice, inventory, gpus_);
    if (!journal_->setting()) {
        journal_->write_header(now);
    } else {
        check_same(*journal_->setting(), now, file);
        // What `device` means was decided when the sweep began.
        choice.device = from_name<Device>(journal_->setting()->device).value_or(Device::cpu);
        choice.warning = journal_->setting()->device_warning;
    }
    settings_.device = choice.device;
    settings_.slots = make_slots(options_, choice.device, gpus_);
    if (!choice.warning.empty()) log::warning(choice.warning);
    if (is_debug_build())
        log::warning("this is a debug build: what it measures is not worth keeping");
    log::info("isosweep " + build_id() + ", " + std::to_string(plan_.size()) + " cells, device " +
              std::string(to_name(choice.device)) + " " + now.gpu);
    if (const auto& limit = settings_.worker.memory_limit)
        log::info("memory-limit = " + format_bytes(limit->bytes) + ", by control groups in " +
                  limit->home.folder.string());
}

std::vector<PlannedCell> Sweep::cells_missing() const {
    std::vector<PlannedCell> cells;
    for (const PlannedCell& planned : plan_)
        if (!journal_->history(planned.key).is_done()) cells.push_back(planned);
    return cells;
}

std::vector<PlannedCell> Sweep::cells_with(const std::vector<Status>& statuses) const {
    const Table cells = make_cells_table(plan_, *journal_);
    std::vector<PlannedCell> chosen;
    for (std::size_t row = 0; row < plan_.size(); ++row) {
        const auto status = from_name<Status>(std::get<std::string>(cells.at(row, "status")));
        if (status && std::find(statuses.begin(), statuses.end(), *status) != statuses.end())
            chosen.push_back(plan_[row]);
    }
    return chosen;
}

std::size_t Sweep::cells_outside_plan() const {
    std::unordered_set<std::string> planned;
    for (const PlannedCell& cell : plan_) planned.insert(cell.key);
    return static_cast<std::size_t>(
        std::count_if(journal_->cells().begin(), journal_->cells().end(),
                      [&](const auto& entry) { return !planned.contains(entry.first); }));
}

SweepEnd Sweep::run(const std::vector<PlannedCell>& cells) {
    // A bad place for the CSV shall be known before hours of measuring, not after.
    write_csv();
    if (cells.empty()) {
        log::notice("nothing to run: every cell has its outcome");
        return {};
    }
    // Another worker need not know of probes, and a launcher's GPUs are not ours to name.
    if (options_.worker.empty() && options_.launcher.empty())
        settings_.probes = missing_probes(cells, settings_.device, settings_.slots, *journal_);
    become_subreaper();
    const std::unique_ptr<StatusDisplay> display = make_status_display();
    log::set_terminal([&](const std::string& line) { display->print(line); });
    struct Restore {
        ~Restore() { log::set_terminal({}); }
    } restore;
    display->begin(plan_.size(), cells);
    Scheduler scheduler(settings_, *journal_, *display,
                        {.on_recorded =
                             [this](const PlannedCell& planned, const Attempt& attempt) {
                                 const WorkerRecord* const worker = journal_->worker(attempt.token);
                                 update_repro(settings_, planned, attempt.outcome.status,
                                              worker ? worker->gpu_uuid : "");
                             },
                         .on_progress = [this] { write_csv(); }});
    SweepEnd end;
    try {
        end = scheduler.run(cells);
    } catch (...) {
        display->end();
        try {
            write_csv();
        } catch (const ResultsError& problem) {
            log::warning(problem.what());  // what ends the sweep is told by the other
        }
        throw;
    }
    reap_leftovers();
    display->end();
    write_csv();
    return end;
}

void Sweep::write_csv() const {
    const Table table = apply_view(make_cells_table(plan_, *journal_), options_.view);
    write_atomically(options_.output, to_csv(table));
}

int run_only(const Options& options) {
    const std::vector<PlannedCell> plan = make_plan(options.grid);
    const auto planned = std::find_if(plan.begin(), plan.end(), [&](const PlannedCell& cell) {
        return cell.key == options.only;
    });
    if (planned == plan.end())
        throw UsageError("--only = '" + options.only +
                         "': no planned cell has this key; `isosweep plan " +
                         options.config.string() + "` lists them");
    const GpuInventory inventory = query_gpus();
    const std::vector<Gpu> gpus =
        usable_gpus(inventory, std::getenv("CUDA_VISIBLE_DEVICES"), options.gpus);
    const DeviceChoice choice = choose_device({*planned}, gpus);
    if (!choice.warning.empty()) log::warning(choice.warning);

    const Cell cell = on_device(planned->cell, choice.device);
    const Outcome outcome = run_in_foreground(worker_command(options),
                                              make_slots(options, choice.device, gpus)[0], cell);
    std::puts(boost::json::serialize(to_json(outcome)).c_str());
    const bool is_flagged = outcome.status == Status::ok && !outcome.flags.empty();
    return is_failed(outcome.status) || (options.strict && is_flagged) ? 1 : 0;
}

}  // namespace isosweep
