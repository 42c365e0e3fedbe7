#include "orchestrator/sweep.h"

#include <isosweep/build_info.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "orchestrator/clock.h"
#include "orchestrator/environment.h"
#include "orchestrator/errors.h"
#include "orchestrator/foreground.h"
#include "orchestrator/launcher.h"
#include "orchestrator/leftovers.h"
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

WorkerCommand worker_command(const Options& options) {
    WorkerCommand command;
    command.argv = worker_argv(options);
    command.launch = traits_of(options.launcher);
    command.timeout = options.timeout;
    command.stall_timeout = options.stall_timeout;
    command.start_timeout = options.start_timeout;
    command.kill_grace = options.kill_grace;
    if (options.memory_limit.bytes == 0) return command;
    if (command.launch.is_launched())
        throw UsageError("memory-limit = " + format_bytes(options.memory_limit.bytes) +
                         ": a launcher's workers are not ours to limit; give the limit to the "
                         "launcher, as in launcher = srun --mem=24G");
    command.memory_limit = make_memory_limit(options.memory_limit.bytes);
    return command;
}

void log_placements(const std::vector<Slot>& slots) {
    const bool share_cores = std::any_of(slots.begin(), slots.end(), [](const Slot& slot) {
        return slot.placement.threads > 0 && slot.placement.cpus.empty();
    });
    if (share_cores)
        log::notice(std::to_string(slots.size()) +
                    " workers at a time and fewer cores: they share these, with one thread each");
    for (std::size_t slot = 0; slot < slots.size(); ++slot)
        if (const Placement& placement = slots[slot].placement; !placement.cpus.empty())
            log::info("slot " + std::to_string(slot) + " " + slots[slot].gpu_uuid + ": CPUs " +
                      to_text(placement.cpus) +
                      (placement.memory_node
                           ? ", memory node " + std::to_string(*placement.memory_node)
                           : ""));
}

/// The sweep's canary: the one that it has had, else one of the plan's cells.
boost::json::object canary_of(const std::vector<PlannedCell>& plan, const Options& options,
                              Device device, const Journal& journal) {
    if (!journal.canary_cell().empty()) return journal.canary_cell();
    const auto canary = choose_canary(plan, device, options.worker.empty());
    if (!canary) return {};
    log::info("the canary is " + describe(*canary));
    return to_json(*canary);
}

void end_leftovers(const Journal& journal, const Options& options,
                   const std::optional<MemoryLimit>& limit) {
    for (const ClusterTask& task : cancel_leftovers(journal, options.launcher))
        log::notice("cancelled what an earlier run of this sweep left in the cluster: " + task.id);
    for (const Leftover& leftover : kill_leftovers(journal, limit))
        log::notice("killed what an earlier run of this sweep left behind: " + leftover.name +
                    ", process " + std::to_string(leftover.pid));
}

/// The flags of a row that is ok, its own and those by the checks of the sweep.
std::string flags_of(const Table& cells, std::size_t row) {
    if (std::get<std::string>(cells.at(row, "status")) != to_name(Status::ok)) return {};
    std::string flags = exact_text(cells.at(row, "flags"));
    const std::string more = exact_text(cells.at(row, "check_flags"));
    return flags + (flags.empty() || more.empty() ? "" : " ") + more;
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
    make_subfolder(file.parent_path());
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

Sweep::Sweep(Options options)
    : options_(std::move(options)),
      plan_(options_.shard ? cells_of_shard(make_plan(options_.grid), *options_.shard)
                           : make_plan(options_.grid)),
      rule_(read_rule(options_.bisect.empty() ? options_.fallback : options_.bisect)) {
    const GpuInventory inventory = query_gpus();
    // A sweep that no GPU takes part in is not tied to one.
    const bool in_cluster = traits_of(options_.launcher).is_cluster();
    if (uses_gpu(plan_) && !in_cluster)
        gpus_ = usable_gpus(inventory, std::getenv("CUDA_VISIBLE_DEVICES"), options_.gpus);
    DeviceChoice choice = in_cluster ? choose_device_of_cluster(plan_, options_.launcher)
                                     : choose_device(plan_, gpus_);
    settings_.worker = worker_command(options_);
    settings_.isolation = options_.isolation;
    // A launcher's next task would take the place of the present one.
    if (options_.isolation == Isolation::process && options_.launcher.empty())
        settings_.standby = options_.standby;
    settings_.gpu_timeout = options_.gpu_timeout;
    settings_.retry = options_.retry;
    settings_.allow_mixed = options_.allow_mixed;
    settings_.max_failures =
        options_.fail_fast ? std::optional<std::int64_t>(1) : options_.max_failures;
    settings_.cells_folder = options_.folder() / "cells";
    settings_.probes_folder = options_.folder() / "logs";

    const fs::path folder = options_.folder();
    check_folder(options_);
    make_folder(folder);
    lock_ = std::make_unique<OutputLock>(folder / "lock");
    if (options_.fresh && fs::exists(folder / "journal.jsonl")) try {
            end_leftovers(Journal::read(folder / "journal.jsonl"), options_,
                          settings_.worker.memory_limit);
        } catch (const Failure& problem) {
            log::warning(problem.what());  // a broken journal may be why to start over
        }
    if (options_.fresh && set_aside(options_)) {
        make_folder(folder);
        lock_ = std::make_unique<OutputLock>(folder / "lock");
    }
    make_folder(folder / "logs");
    make_folder(folder / "cells");
    const std::string now_for_names = timestamp_for_names();
    log::open(folder / "logs" / ("run-" + now_for_names + ".log"));
    write_atomically(folder / "logs" / ("environment-" + now_for_names + ".txt"),
                     environment_text(masked_environment(own_environment())));

    const fs::path file = folder / "journal.jsonl";
    journal_ = std::make_unique<Journal>(Journal::open(file));
    end_leftovers(*journal_, options_, settings_.worker.memory_limit);
    const Setting now = setting_of(options_, choice, inventory, gpus_);
    if (!journal_->setting())
        journal_->write_header(now);
    else
        choice = go_on_with(now);
    std::optional<Journal> earlier;
    if (!options_.learn_from.empty()) earlier = read_witness_journal(options_.learn_from, now.gpu);
    if (options_.prune || earlier) {
        settings_.witnesses.emplace();
        settings_.witnesses->add_from(*journal_);
    }
    if (earlier) settings_.witnesses->add_from(*earlier, options_.learn_from.string());
    if (options_.fitting) keep_to_what_fits(earlier);
    if (!rule_.text.empty()) journal_->write_fallback_rule(rule_.text);
    follow_journal();
    settings_.device = choice.device;
    settings_.slots = place_slots(make_slots(options_, choice.device, gpus_), options_, gpus_);
    if (options_.canary) settings_.canary = canary_of(plan_, options_, choice.device, *journal_);
    if (!choice.warning.empty()) log::warning(choice.warning);
    if (is_debug_build())
        log::warning("this is a debug build: what it measures is not worth keeping");
    log::info("isosweep " + build_id() + ", " + std::to_string(plan_.size()) + " cells, device " +
              std::string(to_name(choice.device)) + " " + now.gpu);
    log_placements(settings_.slots);
    if (const auto& limit = settings_.worker.memory_limit)
        log::info("memory-limit = " + format_bytes(limit->bytes) + ", by control groups in " +
                  limit->home.folder.string());
}

void Sweep::keep_to_what_fits(const std::optional<Journal>& earlier) {
    const auto bytes = gpu_bytes(options_, gpus_);
    if (!bytes && options_.grid.gpu_memory_limit.bytes == 0)
        log::warning(
            "fitting = on skips nothing: the memory of the GPU is not known here; give it with "
            "gpu-memory");
    Predictor predictor(journal_->setting()->gpu, journal_->setting()->isolation);
    predictor.learn_from(*journal_);
    if (earlier) predictor.learn_from(*earlier);
    settings_.fitting.emplace(std::move(predictor), bytes);
}

DeviceChoice Sweep::go_on_with(Setting now) {
    const Setting then = *journal_->setting();
    if (then.device == "cuda" && now.gpu.empty() && now.device != "cuda")
        throw EnvironmentError(journal_->file().string() + ": this sweep was begun on " + then.gpu +
                               ", and there is no GPU now; bring it back, or start over with "
                               "--fresh");
    // What `device` means was decided when the sweep began.
    now.device = then.device;
    now.device_warning = then.device_warning;
    if (const auto difference = find_difference(then, now)) {
        if (!options_.allow_mixed) refuse_difference(*difference, journal_->file());
        log::notice("goes on with another " + difference->part + ": '" + difference->is +
                    "' instead of '" + difference->was + "'");
        journal_->write_setting(now);
    }
    return {from_name<Device>(then.device).value_or(Device::cpu), then.device_warning};
}

void Sweep::follow_journal() {
    if (!journal_->fallback_rules().empty()) rows_ = with_fallbacks(plan_, *journal_);
}

void Sweep::let_go() { lock_.reset(); }

std::vector<PlannedCell> Sweep::cells_missing() const {
    std::vector<PlannedCell> cells;
    for (const PlannedCell& planned : plan_)
        if (!journal_->history(planned.key).is_done()) cells.push_back(planned);
    return cells;
}

std::vector<PlannedCell> Sweep::cells_with(const std::vector<Status>& statuses) const {
    std::vector<PlannedCell> chosen = rows();
    std::erase_if(chosen, [&](const PlannedCell& row) {
        const Status status = shown_status(journal_->history(row.key));
        return std::find(statuses.begin(), statuses.end(), status) == statuses.end();
    });
    return chosen;
}

std::size_t Sweep::cells_outside_plan() const {
    const auto inside = std::count_if(rows().begin(), rows().end(), [&](const PlannedCell& row) {
        return journal_->cells().contains(row.key);
    });
    return journal_->cells().size() - static_cast<std::size_t>(inside);
}

std::vector<PlannedCell> Sweep::in_running_order(std::vector<PlannedCell> cells) const {
    // What is skipped since a smaller cell lacks memory needs the smaller one first.
    const bool is_free = !options_.order.is_shuffled && !settings_.witnesses;
    if (is_free && settings_.slots.size() > 1) return longest_first(std::move(cells));
    return in_order(std::move(cells), options_.order);
}

SweepEnd Sweep::run(std::vector<PlannedCell> cells) {
    const auto owed = [this] {
        return rule_.text.empty() ? std::vector<PlannedCell>()
                                  : owed_fallbacks(plan_, *journal_, rule_);
    };
    const auto drifted = [this] {
        follow_journal();
        return drifted_cells(rows(), *journal_);
    };
    const bool canary_waits =
        options_.canary && (has_open_block(settings_.slots, *journal_) || !drifted().empty());
    if (cells.empty() && owed().empty() && !canary_waits) {
        write_csv();
        log::notice("nothing to run: every cell has its outcome");
        return {};
    }
    // A bad place for the CSV shall be known before hours of measuring, not after.
    {
        const Replacement trial(options_.output);
    }
    // Another worker need not know of probes, and a launcher's GPUs are not ours to name.
    settings_.wants_probes = options_.worker.empty() && options_.launcher.empty();
    // A run that was killed may have recorded an outcome and not come to this.
    for (const PlannedCell& row : rows())
        if (const auto& recorded = journal_->history(row.key).recorded;
            recorded && recorded->status != Status::ok &&
            !fs::exists(settings_.cells_folder / row.key / "repro.sh"))
            keep_repro(row, recorded->status, recorded->token);
    become_subreaper();
    const std::unique_ptr<StatusDisplay> display = make_status_display();
    log::set_terminal([&](const std::string& line) { display->print(line); });
    struct Restore {
        ~Restore() { log::set_terminal({}); }
    } restore;
    display->begin(rows().size(), cells);
    Scheduler scheduler(settings_, *journal_, *display,
                        {.on_recorded =
                             [this](const PlannedCell& planned, const Attempt& attempt) {
                                 keep_repro(planned, attempt.outcome.status, attempt.token);
                             },
                         .on_progress = [this] { write_csv(); },
                         .further_cells = owed,
                         .drifted_cells = drifted});
    SweepEnd end;
    try {
        end = scheduler.run(in_running_order(std::move(cells)));
    } catch (...) {
        display->end();
        log::set_terminal({});
        save_what_can_be();
        throw;
    }
    reap_leftovers();
    display->end();
    write_csv();
    return end;
}

void Sweep::keep_repro(const PlannedCell& planned, Status status, std::string_view token) const {
    const WorkerRecord* const worker = journal_->worker(token);
    update_repro(settings_, planned, status, std::string(worker ? worker->gpu_uuid : ""));
}

void Sweep::save_what_can_be() {
    const std::string unsaved = journal_->unsaved_ends();
    if (!unsaved.empty()) {
        log::warning(
            "these outcomes may not be on the disk; when it can be written again, append the lines "
            "to " +
            journal_->file().string() + " and go on:");
        std::fputs(unsaved.c_str(), stderr);
    }
    try {
        write_csv();
    } catch (const ResultsError& problem) {
        log::warning(problem.what());  // what ends the sweep is told by another
    }
}

void Sweep::write_csv() {
    follow_journal();
    const CellsTable cells(rows(), *journal_);
    // All columns of all rows of a large sweep would take gigabytes.
    constexpr std::size_t block = 100;
    const std::size_t rows_at_once = is_row_by_row(options_.view) ? block : cells.row_count();
    Replacement csv(options_.output);
    flagged_.clear();
    for (std::size_t first = 0; first < cells.row_count(); first += rows_at_once) {
        const std::size_t last = std::min(first + rows_at_once, cells.row_count());
        const Table part = cells.rows(first, last);
        for (std::size_t row = first; row < last; ++row)
            if (std::string flags = flags_of(part, row - first); !flags.empty())
                flagged_.push_back({row, std::move(flags)});
        const Table shown = apply_view(part, options_.view);
        csv.write(first == 0 ? to_csv(shown) : rows_to_csv(shown));
    }
    csv.commit();
}

int run_only(const Options& options) {
    std::vector<PlannedCell> plan = make_plan(options.grid);
    if (const fs::path journal = options.folder() / "journal.jsonl"; fs::exists(journal))
        plan = with_fallbacks(std::move(plan), Journal::read(journal));
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
    const DeviceChoice choice = traits_of(options.launcher).is_cluster()
                                    ? choose_device_of_cluster({*planned}, options.launcher)
                                    : choose_device({*planned}, gpus);
    if (!choice.warning.empty()) log::warning(choice.warning);

    const Cell cell = on_device(planned->cell, choice.device);
    const Outcome outcome = run_in_foreground(worker_command(options),
                                              make_slots(options, choice.device, gpus)[0], cell);
    std::puts(boost::json::serialize(to_json(outcome)).c_str());
    const bool is_flagged = outcome.status == Status::ok && !outcome.flags.empty();
    return is_failed(outcome.status) || (options.strict && is_flagged) ? 1 : 0;
}

}  // namespace isosweep
