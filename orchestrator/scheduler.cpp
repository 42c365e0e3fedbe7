#include "orchestrator/scheduler.h"

#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <deque>
#include <exception>
#include <set>
#include <system_error>
#include <unordered_map>

#include "orchestrator/clock.h"
#include "orchestrator/errors.h"
#include "orchestrator/gpu_gate.h"
#include "orchestrator/log.h"
#include "orchestrator/policy.h"

namespace isosweep {
namespace asio = boost::asio;
namespace json = boost::json;
using Clock = std::chrono::steady_clock;

std::string random_token() {
    std::array<unsigned char, 16> bytes{};
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        throw std::system_error(errno, std::generic_category(), "getrandom");
    std::string token;
    for (const unsigned byte : bytes) {
        constexpr std::string_view digits = "0123456789abcdef";
        token += digits[byte >> 4U];
        token += digits[byte & 15U];
    }
    return token;
}

std::vector<std::string> worker_environment(const std::string& token, const Slot& slot) {
    const int threads = slot.placement.threads;
    bool has_threads = false;
    std::vector<std::string> environment;
    for (char** variable = environ; *variable; ++variable) {
        const std::string_view text = *variable;
        if (text.starts_with("ISOSWEEP_WORKER_TOKEN=")) continue;
        if (!slot.gpu_uuid.empty() && text.starts_with("CUDA_VISIBLE_DEVICES=")) continue;
        has_threads = has_threads || text.starts_with("OMP_NUM_THREADS=");
        environment.emplace_back(text);
    }
    environment.push_back("ISOSWEEP_WORKER_TOKEN=" + token);
    if (!slot.gpu_uuid.empty()) environment.push_back("CUDA_VISIBLE_DEVICES=" + slot.gpu_uuid);
    // Else a worker would take as many threads as the machine has cores.
    if (threads > 0 && !has_threads)
        environment.push_back("OMP_NUM_THREADS=" + std::to_string(threads));
    return environment;
}

namespace {

/// Whether a signal was ignored when we started: who runs us under nohup wants it so.
bool is_ignored(int number) {
    struct sigaction action{};
    return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

/// One run of the scheduler: what lives from `run` to its return.
class Scheduler::Run {
  public:
    Run(Scheduler& scheduler, std::vector<PlannedCell> cells)
        : settings_(scheduler.settings_),
          journal_(scheduler.journal_),
          display_(scheduler.display_),
          hooks_(scheduler.hooks_),
          cells_(std::move(cells)),
          signals_(io_),
          ticker_(io_),
          saver_(io_),
          places_(settings_.slots.size()) {
        for (std::size_t slot = 0; slot < places_.size(); ++slot) {
            const CanaryLog& log =
                journal_.canaries(place_of(settings_.slots[slot].gpu_uuid, slot));
            // What was measured without any canary gets none behind it, either.
            if (!log.medians_ms.empty()) places_[slot].canary.cells_since = log.cells_since;
        }
        for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCONT})
            if (!is_ignored(number)) signals_.add(number);
        for (std::size_t i = 0; i < cells_.size(); ++i) {
            queue_.push_back(i);
            index_of_[cells_[i].key] = i;
        }
        add_probes(cells_);
    }

    SweepEnd run() {
        wait_for_signal();
        if (display_.wants_ticks()) tick();
        save_soon();  // what an earlier run recorded last may not be in it
        asio::post(io_, [this] { fill_slots(); });
        try {
            io_.run();
        } catch (...) {
            keep_answers();
            for (Place& place : places_) {
                if (place.session) place.session->discard();
                for (const Standby& standby : place.standbys) standby.session->discard();
            }
            for (const auto& session : leaving_) session->discard();
            throw;
        }
        if (unfit_) std::rethrow_exception(unfit_);
        return end_;
    }

  private:
    /// A worker that waits for those before it to end.
    struct Standby {
        std::shared_ptr<WorkerSession> session;
        std::string token;
        std::int64_t pid = 0;
    };
    /// A slot at work.
    struct Place {
        std::shared_ptr<WorkerSession> session;
        std::deque<Standby> standbys;  ///< the first gets the next job
        std::deque<Precision> probes;  ///< still to do
        std::set<Precision> probed;    ///< done, well or not, or still to do
        CanaryTurn canary;
        std::optional<GpuGate> gate;  ///< where it has a GPU
        std::int64_t last_worker =
            0;  ///< process that has ended on it; 0: none since it was looked at
        std::optional<Clock::time_point> waits_since;  ///< for its GPU
        std::optional<Clock::time_point> free_since;   ///< its last worker ended
        std::string closed;                            ///< why its GPU is used no more; else empty
        std::string token;                             ///< of its worker
        Clock::time_point started;                     ///< its current attempt
        std::optional<double> waited_ms;               ///< between its last worker and that
        std::int64_t started_unix_ms = 0;
        std::string cell;   ///< what it runs, for a person
        std::string phase;  ///< the last that the worker told
    };
    static constexpr int no_slot = -1;
    struct Ended {
        std::size_t cell;
        int slot;
        Attempt attempt;
    };

    /// The run ends by an exception: what was answered meanwhile goes to the journal, or is told as
    /// what the journal may lack.
    void keep_answers() {
        for (const Place& place : places_) try {
                if (place.session) place.session->tell_answer();
            } catch (const Failure&) {  // NOLINT(bugprone-empty-catch)
                // The first one is told. No sync: it would take back what the journal noted.
            }
    }

    bool stopping() const {
        return end_.signal != 0 || end_.too_many_failures || !end_.broken.empty() || unfit_;
    }

    /// Whether a cell waits to be started. Those that follow from others are planned when no other
    /// is left, and those that need not be run leave the queue.
    bool has_job() {
        if (stopping()) return false;
        take_further_cells();
        while (!queue_.empty() && skip_hopeless(queue_.front())) {
            queue_.pop_front();
            take_further_cells();
        }
        return !queue_.empty();
    }

    void take_further_cells() {
        if (!queue_.empty() || !may_have_further_) return;
        may_have_further_ = false;
        std::vector<PlannedCell> further;
        if (hooks_.further_cells) further = hooks_.further_cells();
        std::erase_if(further,
                      [&](const PlannedCell& cell) { return index_of_.contains(cell.key); });
        add_probes(further);
        for (PlannedCell& cell : further) add_cell(std::move(cell));
        if (queue_.empty()) take_drifted_cells();
    }

    void add_cell(PlannedCell cell) {
        index_of_[cell.key] = cells_.size();
        queue_.push_back(cells_.size());
        display_.cell_added(cell);
        cells_.push_back(std::move(cell));
    }

    /// Queues what a drift puts in doubt, each cell once in a run.
    void take_drifted_cells() {
        if (settings_.canary.empty() || !hooks_.drifted_cells) return;
        for (DriftedCell& drifted : hooks_.drifted_cells()) {
            if (!drifted_.insert(drifted.cell.key).second) continue;
            journal_.write_drift(drifted.cell.key, drifted.attempt, drifted.canary_ratio);
            log::info("drift: " + drifted.cell.key + " attempt " + std::to_string(drifted.attempt) +
                      ", canary ratio " + format_fixed(drifted.canary_ratio, 4));
            add_cell(std::move(drifted.cell));
        }
        if (!queue_.empty())
            log::notice("the canary shows that the machine drifted; cells to measure again: " +
                        std::to_string(queue_.size()));
    }

    /// Whether a slot's canary comes before whatever else it may do, when so many more cells have
    /// ended there.
    bool is_canary_next(std::size_t slot, int more_cells = 0) {
        if (settings_.canary.empty() || stopping()) return false;
        CanaryTurn turn = places_[slot].canary;
        turn.cells_since += more_cells;
        return is_canary_due(turn, has_job() || delayed_ > 0);
    }

    bool has_work(std::size_t slot) { return has_job() || is_canary_next(slot); }

    void add_probes(const std::vector<PlannedCell>& cells) {
        if (!settings_.wants_probes) return;
        for (const Probe& probe :
             missing_probes(cells, settings_.device, settings_.slots, journal_)) {
            Place& place = places_.at(probe.slot);
            if (place.probed.insert(probe.precision).second)
                place.probes.push_back(probe.precision);
        }
    }

    /// Records a cell as skipped where it is known to lack memory, or foreseen to. \returns whether
    bool skip_hopeless(std::size_t cell) {
        const Cell asked = on_device(cells_[cell].cell, settings_.device);
        std::optional<Outcome> outcome = lacks_memory(asked);
        if (!outcome && settings_.fitting) outcome = settings_.fitting->obstacle(asked);
        if (!outcome) return false;
        record_unrun(cell, std::move(*outcome));
        return true;
    }

    /// The outcome of a cell that is not to be run since a smaller one lacked memory.
    std::optional<Outcome> lacks_memory(const Cell& cell) const {
        const Witness* const witness =
            settings_.witnesses ? settings_.witnesses->find(cell) : nullptr;
        if (!witness) return std::nullopt;
        Outcome outcome;
        outcome.status = Status::skipped;
        outcome.message = "needs at least the memory of " + witness->key + " (" +
                          describe(witness->cell) + "), which lacked it" +
                          (witness->origin.empty() ? "" : " in " + witness->origin);
        outcome.error = {{"witness", witness->key}};
        return outcome;
    }

    /// Records the outcome of a cell that was not run.
    void record_unrun(std::size_t cell, Outcome outcome) {
        Attempt attempt;
        attempt.number = journal_.history(cells_[cell].key).starts;
        attempt.outcome = std::move(outcome);
        attempt.start_ms = unix_now_ms();
        journal_.write_end(cells_[cell].key, attempt);
        may_have_further_ = true;
        tell_when_synced({cell, no_slot, std::move(attempt)});
    }

    void fill_slots() {
        for (std::size_t slot = 0; slot < places_.size(); ++slot) {
            Place& place = places_[slot];
            if (place.session || place.waits_since || !place.closed.empty()) continue;
            if (!has_work(slot)) {
                // The last cells run elsewhere: nobody shall wait for this one's end after them.
                while (!place.standbys.empty() && delayed_ == 0) dismiss_first_standby(place);
                continue;
            }
            while (!place.standbys.empty() && !place.standbys.front().session->is_ready_for_job())
                dismiss_first_standby(place);
            if (place.gate && place.last_worker != 0 && !is_gpu_ready(slot)) continue;
            place.token = place.standbys.empty() ? random_token() : place.standbys.front().token;
            if (!place.probes.empty())
                start_probe(slot);
            else if (is_canary_next(slot))
                start_canary(slot);
            else
                start_cells(slot);
        }
        give_up_if_all_closed();
        finish_if_done();
    }

    /// Whether a slot's GPU is as before its first worker. Else it is looked at again, until it is
    /// or the time for that is up.
    bool is_gpu_ready(std::size_t slot) {
        Place& place = places_[slot];
        const std::string gpu = "GPU " + settings_.slots[slot].gpu_uuid + ": ";
        const bool has_context =
            !place.standbys.empty() && place.standbys.front().session->has_context();
        const auto obstacle =
            place.gate->obstacle(place.last_worker, has_context ? place.standbys.front().pid : 0);
        const Clock::time_point now = Clock::now();
        if (obstacle && !place.waits_since) {
            log::info(gpu + obstacle->reason);
            place.waits_since = now;
        }
        const bool is_late = obstacle && now - *place.waits_since >= settings_.gpu_timeout;
        if (obstacle && obstacle->kind == Obstacle::Kind::somebody && is_late) {
            log::warning(gpu + obstacle->reason +
                         "; the sweep goes on beside it, and its times may suffer");
            place.gate->accept_memory();
        } else if (obstacle && (is_late || obstacle->kind == Obstacle::Kind::permanent)) {
            place.closed = gpu + obstacle->reason;
            if (is_late)
                place.closed += " after gpu-timeout = " +
                                format_duration(static_cast<double>(settings_.gpu_timeout.count()));
            log::warning(place.closed + "; it gets no more cells");
            place.waits_since.reset();
            while (!place.standbys.empty()) dismiss_first_standby(place);
            return false;
        } else if (obstacle) {
            constexpr std::chrono::milliseconds pause(10);
            auto timer = std::make_shared<asio::steady_timer>(io_, pause);
            timer->async_wait(
                [this, slot, timer](const boost::system::error_code&) { look_again(slot); });
            return false;
        }
        place.waits_since.reset();
        place.last_worker = 0;
        return true;
    }

    void look_again(std::size_t slot) {
        if (!has_work(slot)) places_[slot].waits_since.reset();  // nothing to wait for
        if (places_[slot].waits_since) is_gpu_ready(slot);
        if (!places_[slot].waits_since) fill_slots();
    }

    /// Where no GPU is left, the cells left are not run, and say why.
    void give_up_if_all_closed() {
        const bool all_closed = std::all_of(places_.begin(), places_.end(), [](const Place& place) {
            return !place.closed.empty();
        });
        if (!all_closed || stopping()) return;
        end_.broken = "no GPU is left that cells could run on. " + places_.back().closed +
                      ". Mend or reset it, then the same command goes on";
        for (const std::size_t cell : std::exchange(queue_, {})) {
            Outcome outcome;
            outcome.message = places_.back().closed;
            record_unrun(cell, std::move(outcome));
        }
    }

    /// Starts a worker for the next cell, and in a shared sweep for those that follow.
    void start_cells(std::size_t slot) {
        WorkerSession::Hooks hooks;
        hooks.on_phase = [this, slot](const Job&, std::string_view phase) {
            places_[slot].phase = phase;
            display_.cell_phase(static_cast<int>(slot), phase);
            attend_standbys(slot, phase);
        };
        hooks.on_attempt_end = [this, slot](const Job& ended, const Evidence& seen) {
            end_attempt(slot, ended, seen);
        };
        if (settings_.isolation == Isolation::shared) {
            // The cell that is just ending is not counted yet.
            hooks.has_next_job = [this, slot] { return has_job() && !is_canary_next(slot, 1); };
            hooks.next_job = [this, slot]() -> std::optional<Job> {
                if (!has_job() || is_canary_next(slot)) return std::nullopt;
                return take_job(slot);
            };
        }
        start_worker(slot, take_job(slot), std::move(hooks));
    }

    void start_probe(std::size_t slot) {
        Place& place = places_[slot];
        const Precision precision = place.probes.front();
        place.probes.pop_front();
        Job job;
        job.request = {random_token(), {}, {{"name", "matmul"}, {"precision", to_name(precision)}}};
        job.log = settings_.probes_folder /
                  ("probe-" + to_text(precision) + "-slot-" + std::to_string(slot) + ".log");
        WorkerSession::Hooks hooks;
        hooks.on_phase = [this, slot](const Job&, std::string_view phase) {
            attend_standbys(slot, phase);
        };
        hooks.on_attempt_end = [this, slot, precision](const Job&, const Evidence& seen) {
            end_probe(settings_.slots[slot].gpu_uuid, precision, classify(seen));
        };
        start_worker(slot, std::move(job), std::move(hooks));
    }

    void start_canary(std::size_t slot) {
        Place& place = places_[slot];
        place.canary.was_tried = true;
        place.canary.cells_since = 0;
        place.started = Clock::now();
        place.cell = "the canary";
        place.phase.clear();
        Job job;
        job.request = {random_token(), settings_.canary, {}};
        job.log = settings_.probes_folder / ("canary-slot-" + std::to_string(slot) + ".log");
        WorkerSession::Hooks hooks;
        hooks.on_phase = [this, slot](const Job&, std::string_view phase) {
            attend_standbys(slot, phase);
        };
        hooks.on_attempt_end = [this, slot](const Job&, const Evidence& seen) {
            end_canary(slot, classify(seen));
        };
        start_worker(slot, std::move(job), std::move(hooks));
    }

    /// Starts a worker for `job`, or gives it to the one that stands by, with the hooks that all
    /// workers share.
    void start_worker(std::size_t slot, Job job, WorkerSession::Hooks hooks) {
        Place& place = places_[slot];
        hooks.on_spawn = [this, slot](const Process& process) {
            places_[slot].last_worker = process.pid();
            write_worker(slot, places_[slot].token, process, *places_[slot].session);
        };
        hooks.on_hello = [this](const json::object& facts) { check_hello(facts); };
        hooks.on_unfit = [this, slot](std::exception_ptr why) {
            stop_for(std::move(why), places_[slot].session.get());
        };
        hooks.on_answer = [this, slot] { let_standbys_work(slot, true); };
        if (!place.gate && !settings_.slots[slot].gpu_uuid.empty())
            place.gate.emplace(settings_.slots[slot].gpu_uuid);
        hooks.on_end = [this, slot] {
            places_[slot].session.reset();
            places_[slot].free_since = Clock::now();
            fill_slots();
        };
        if (!place.standbys.empty()) {
            const Standby standby = place.standbys.front();
            place.standbys.pop_front();
            place.last_worker = standby.pid;
            place.session = standby.session;
            place.session->give(std::move(job), std::move(hooks));
            return;
        }
        place.session = std::make_shared<WorkerSession>(io_, settings_.worker, std::move(hooks));
        place.session->start(std::move(job), place.token,
                             worker_environment(place.token, settings_.slots[slot]),
                             settings_.slots[slot].placement);
    }

    void write_worker(std::size_t slot, const std::string& token, const Process& process,
                      const WorkerSession& session) {
        const auto& [gpu_uuid, placement] = settings_.slots[slot];
        // Not what it should have but what it has: the machine's CPUs may have changed meanwhile.
        journal_.write_worker(
            {.token = token,
             .pid = process.pid(),
             .start_time = process.start_time(),
             .slot = static_cast<int>(slot),
             .gpu_uuid = gpu_uuid,
             .boot = boot_,
             .group = session.group(),
             .cpus = placement.cpus.empty() ? CpuList{} : affinity_of(process.pid()),
             .memory_node = placement.memory_node});
    }

    /// A slot's worker has come to a phase: the next ones start beside what is not timed, and stand
    /// still beside what is.
    void attend_standbys(std::size_t slot, std::string_view phase) {
        if (!is_timed(phase)) return let_standbys_work(slot, phase == "cleanup");
        for (const Standby& standby : places_[slot].standbys) standby.session->pause();
    }

    /// Nothing is timed in a slot. There are two workers to come, since one takes longer to start
    /// than a cell takes beside its steps. When all is measured, the first of them may take its
    /// context, where there is room beside what is not free yet.
    void let_standbys_work(std::size_t slot, bool all_measured) {
        Place& place = places_[slot];
        for (const Standby& standby : place.standbys) standby.session->resume();
        while (place.standbys.size() < 2 && start_standby(slot)) {
        }
        if (settings_.standby == StandbyMode::context && all_measured && !place.standbys.empty() &&
            place.gate && place.gate->has_room_for_context())
            place.standbys.front().session->prepare_context();
    }

    /// Starts one more worker that stands by, if there will be a job for it. \returns whether
    bool start_standby(std::size_t slot) {
        Place& place = places_[slot];
        const std::size_t jobs =
            place.probes.size() + (has_job() ? queue_.size() : 0) + (is_canary_next(slot) ? 1 : 0);
        if (settings_.standby == StandbyMode::off || place.standbys.size() >= jobs) return false;
        const std::string token = random_token();
        WorkerSession::Hooks hooks;
        hooks.on_spawn = [this, slot](const Process& process) {
            Standby& spawned = places_[slot].standbys.back();
            spawned.pid = process.pid();
            write_worker(slot, spawned.token, process, *spawned.session);
        };
        hooks.on_hello = [this](const json::object& facts) { check_hello(facts); };
        hooks.on_unfit = [this](std::exception_ptr why) { stop_for(std::move(why), nullptr); };
        hooks.on_end = [this, slot, token] {
            std::erase_if(places_[slot].standbys,
                          [&](const Standby& standby) { return standby.token == token; });
        };
        place.standbys.push_back(
            {std::make_shared<WorkerSession>(io_, settings_.worker, std::move(hooks)), token});
        place.standbys.back().session->stand_by(token,
                                                worker_environment(token, settings_.slots[slot]),
                                                settings_.slots[slot].placement);
        // That takes nothing of the GPU yet, so it may be there while others are measured.
        if (settings_.standby == StandbyMode::context)
            place.standbys.back().session->prepare_driver();
        return true;
    }

    /// Ends the first worker that stands by, which is not needed or not fit.
    void dismiss_first_standby(Place& place) {
        const std::shared_ptr<WorkerSession> session = place.standbys.front().session;
        place.standbys.pop_front();
        leaving_.insert(session);
        // Who held itself by its own hook would never be freed.
        session->leave([this, gone = session.get()] {
            std::erase_if(leaving_, [&](const auto& one) { return one.get() == gone; });
            finish_if_done();
        });
    }

    /// Takes the next cell for a slot: writes its start, and makes the worker's job of it.
    Job take_job(std::size_t slot) {
        Place& place = places_[slot];
        const PlannedCell& planned = cells_[queue_.front()];
        queue_.pop_front();
        Job job;
        job.key = planned.key;
        job.attempt = journal_.history(planned.key).starts + 1;
        job.request = {random_token(), to_json(on_device(planned.cell, settings_.device))};
        job.log = settings_.cells_folder / planned.key /
                  ("attempt-" + std::to_string(job.attempt) + ".log");
        journal_.write_start(job.key, job.attempt, job.request.nonce, place.token,
                             job.request.cell);
        log::info("start " + job.key + " attempt " + std::to_string(job.attempt) + ": " +
                  describe(planned.cell));
        place.started = Clock::now();
        place.waited_ms.reset();
        if (const auto since = std::exchange(place.free_since, std::nullopt))
            place.waited_ms =
                std::chrono::duration<double, std::milli>(place.started - *since).count();
        place.started_unix_ms = unix_now_ms();
        place.cell = describe(planned.cell);
        place.phase.clear();
        display_.cell_started(planned, static_cast<int>(slot), job.attempt);
        return job;
    }

    void check_hello(const json::object& facts) {
        const auto text = [&](const char* name) {
            const auto* value = facts.if_contains(name);
            return value && value->is_string() ? std::string(value->get_string()) : std::string();
        };
        const auto* const cuda = facts.if_contains("cuda");
        if (settings_.device == Device::cuda && cuda && *cuda == false)
            throw EnvironmentError(
                "this machine has a GPU, but the worker is built without CUDA: run `make setup "
                "CUDA=on` and build again, or measure with --device cpu --fresh");
        Setting now = *journal_.setting();
        const bool is_first = !now.worker;
        now.worker = text("build");
        now.torch = text("torch");
        const auto difference = find_difference(*journal_.setting(), now);
        if (difference && !settings_.allow_mixed) refuse_difference(*difference, journal_.file());
        if (is_first || difference) journal_.write_hello(facts);
    }

    /// A worker does not fit the sweep, so none does that starts from now on. What others measure
    /// is not lost by that.
    void stop_for(std::exception_ptr why, const WorkerSession* unfit) {
        if (unfit_) return;
        unfit_ = std::move(why);
        const bool others_run = std::any_of(
            places_.begin(), places_.end(),
            [&](const Place& place) { return place.session && place.session.get() != unfit; });
        if (others_run) display_.print("a new worker does not fit the sweep: finishing what runs");
    }

    void end_probe(const std::string& gpu_uuid, Precision precision, const Outcome& outcome) {
        const std::string what = "the " + to_text(precision) + " matrix product of " + gpu_uuid;
        if (outcome.status != Status::ok) {
            log::notice(what + " was not measured, the next run tries again: " +
                        std::string(to_name(outcome.status)) + ": " + outcome.message);
            return;
        }
        const auto* const name = outcome.measurement.if_contains("device_name");
        const double tflops = outcome.measurement.at("tflops").to_number<double>();
        journal_.write_probe(
            {gpu_uuid, name && name->is_string() ? std::string(name->get_string()) : std::string(),
             precision, tflops, outcome.measurement.at("samples_ms").as_array()});
        log::info(what + ": " + format_fixed(tflops, 1) + " TFLOP/s");
    }

    void end_canary(std::size_t slot, const Outcome& outcome) {
        Place& place = places_[slot];
        if (outcome.status != Status::ok) {
            ++place.canary.failures;
            log::notice("the canary was not measured: " + std::string(to_name(outcome.status)) +
                        ": " + outcome.message);
            return;
        }
        place.canary.failures = 0;
        const json::array& samples_ms = outcome.measurement.at("samples_ms").as_array();
        journal_.write_canary(place.token, settings_.canary, samples_ms);
        // What it tells of the block before it is decided now, not with the next cell.
        journal_.sync();
        may_have_further_ = true;
        log::info("canary in slot " + std::to_string(slot) + ": " + json::serialize(samples_ms) +
                  " ms");
    }

    void end_attempt(std::size_t slot, const Job& job, const Evidence& seen) {
        Place& place = places_[slot];
        Attempt attempt;
        attempt.number = job.attempt;
        attempt.outcome = classify(seen);
        attempt.token = place.token;
        attempt.times = seen.times;
        attempt.times.wait = place.waited_ms;
        attempt.start_ms = place.started_unix_ms;
        attempt.elapsed_ms =
            std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - place.started)
                .count();
        const NextStep step =
            decide(seen, attempt.outcome, journal_.history(job.key), settings_.retry);
        attempt.decision = step.decision;
        journal_.write_end(job.key, attempt);
        log::info("end " + job.key + " attempt " + std::to_string(job.attempt) + ": " +
                  std::string(to_name(attempt.outcome.status)) + " " + attempt.outcome.message);

        const std::size_t cell = index_of_.at(job.key);
        const Status status = attempt.outcome.status;
        if (status == Status::ok) ++place.canary.cells_since;
        check_machine(seen, attempt.outcome, step.decision);
        if (step.decision == Decision::record) {
            ++recorded_;
            may_have_further_ = true;
            if (status == Status::oom_gpu && settings_.witnesses)
                settings_.witnesses->add(
                    {job.key, on_device(cells_[cell].cell, settings_.device), {}});
        }
        if (step.decision == Decision::record && is_failed(status)) {
            ++failures_;
            if (settings_.max_failures && failures_ >= *settings_.max_failures)
                end_.too_many_failures = true;
        }
        if (step.decision != Decision::record && step.in_this_run) queue_again(cell, step.delay);
        tell_when_synced({cell, static_cast<int>(slot), std::move(attempt)});
    }

    void tell_when_synced(Ended ended) {
        unsynced_.push_back(std::move(ended));
        // One sync serves all slots whose cells ended in this turn of the loop.
        if (unsynced_.size() == 1) asio::post(io_, [this] { report_ended(); });
    }

    void queue_again(std::size_t cell, std::chrono::milliseconds delay) {
        if (delay.count() == 0) {
            queue_.push_front(cell);
            return;
        }
        ++delayed_;
        auto timer = std::make_shared<asio::steady_timer>(io_, delay);
        timer->async_wait([this, cell, timer](const boost::system::error_code&) {
            --delayed_;
            queue_.push_front(cell);
            fill_slots();
        });
    }

    void report_ended() {
        journal_.sync();
        for (const Ended& ended : std::exchange(unsynced_, {})) {
            display_.cell_ended(cells_[ended.cell], ended.slot, ended.attempt);
            if (ended.attempt.decision == Decision::record)
                hooks_.on_recorded(cells_[ended.cell], ended.attempt);
        }
        save_soon();
        fill_slots();
    }

    void save_soon() {
        if (save_planned_) return;
        save_planned_ = true;
        // Once a second, and of many thousand rows less often: beside what is measured nothing
        // should keep a core busy.
        constexpr int share = 20;
        const auto pause = std::max<Clock::duration>(std::chrono::seconds(1), share * save_took_);
        saver_.expires_at(std::max(Clock::now(), last_save_ + pause));
        saver_.async_wait([this](const boost::system::error_code& problem) {
            save_planned_ = false;
            if (problem) return;  // the end of the run saves anyway
            const Clock::time_point begin = Clock::now();
            hooks_.on_progress();
            last_save_ = Clock::now();
            save_took_ = last_save_ - begin;
        });
    }

    void finish_if_done() {
        for (const Place& place : places_)
            if (place.session || (place.waits_since && !stopping())) return;
        if (!unsynced_.empty() || (!stopping() && (has_job() || delayed_ > 0))) return;
        for (Place& place : places_)
            while (!place.standbys.empty()) dismiss_first_standby(place);
        if (leaving_.empty()) io_.stop();
    }

    /// How far it is, in a few lines.
    std::string status_text() const {
        std::string text = std::to_string(recorded_) + " of " + std::to_string(cells_.size()) +
                           " cells done in this run, " + std::to_string(failures_) + " failed";
        for (const Place& place : places_) {
            if (!place.session) continue;
            const double ms =
                std::chrono::duration<double, std::milli>(Clock::now() - place.started).count();
            text += "\nrunning: " + place.cell +
                    (place.phase.empty() ? "" : ", phase " + place.phase) + ", for " +
                    format_duration(ms);
        }
        return text;
    }

    /// Stops a sweep whose first cells all fail for a cause that is the machine's, before it has
    /// failed every cell so.
    void check_machine(const Evidence& seen, const Outcome& outcome, Decision decision) {
        constexpr int enough = 3;
        const json::value* const says = outcome.error.if_contains("environment");
        const bool machines_fault = !seen.hello || (says && *says == true);
        if (!machines_fault) {
            machine_works_ = true;
        } else if (!machine_works_ && decision == Decision::record && ++cells_lost_ == enough) {
            end_.broken =
                (seen.hello ? "this machine cannot run cells" : "no worker can be started") +
                std::string("; the last of ") + std::to_string(enough) +
                " cells ended with: " + outcome.message +
                ". Mend that, then the same command goes on";
        }
    }

    void wait_for_signal() {
        signals_.async_wait([this](const boost::system::error_code& problem, int number) {
            if (problem) return;
            if (number == SIGUSR1) {
                display_.print(status_text());
            } else if (number == SIGCONT) {
                for (Place& place : places_)
                    if (place.session) place.session->restart_limits();
            } else if (end_.signal == 0) {
                end_.signal = number;
                display_.print(signal_name(number) +
                               ": finishing the running cell; once more kills it");
                for (Place& place : places_)
                    if (place.session) place.session->abort_if_queued();
            } else {
                for (Place& place : places_)
                    if (place.session) place.session->abort();
            }
            wait_for_signal();
            fill_slots();
        });
    }

    void tick() {
        ticker_.expires_after(std::chrono::seconds(1));
        ticker_.async_wait([this](const boost::system::error_code& problem) {
            if (problem) return;
            display_.tick();
            tick();
        });
    }

    SweepSettings& settings_;
    Journal& journal_;
    StatusDisplay& display_;
    const Hooks& hooks_;
    std::vector<PlannedCell> cells_;  ///< grows by those that follow from others
    std::string boot_ = boot_id();
    asio::io_context io_;
    asio::signal_set signals_;
    asio::steady_timer ticker_;
    asio::steady_timer saver_;
    std::vector<Place> places_;
    std::set<std::shared_ptr<WorkerSession>> leaving_;  ///< dismissed, and not gone yet
    std::deque<std::size_t> queue_;  ///< cells to start, by their place in `cells_`
    std::unordered_map<std::string, std::size_t> index_of_;
    bool may_have_further_ = true;   ///< an outcome or a canary was recorded since we asked last
    std::set<std::string> drifted_;  ///< keys of cells that this run measures again
    std::size_t delayed_ = 0;        ///< cells that wait to be queued again
    std::vector<Ended> unsynced_;
    std::int64_t failures_ = 0;
    std::size_t recorded_ = 0;
    bool machine_works_ = false;  ///< a cell ended in a way that was its own
    int cells_lost_ = 0;          ///< before that, by the machine's fault
    bool save_planned_ = false;
    Clock::time_point last_save_ = Clock::now();
    Clock::duration save_took_{};
    std::exception_ptr unfit_;  ///< why a worker does not fit the sweep; null: all did
    SweepEnd end_;
};

Scheduler::Scheduler(SweepSettings settings, Journal& journal, StatusDisplay& display, Hooks hooks)
    : settings_(std::move(settings)),
      journal_(journal),
      display_(display),
      hooks_(std::move(hooks)) {}

SweepEnd Scheduler::run(std::vector<PlannedCell> cells) {
    return Run(*this, std::move(cells)).run();
}

}  // namespace isosweep
