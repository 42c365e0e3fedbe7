#include "orchestrator/scheduler.h"

#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <deque>
#include <system_error>
#include <unordered_map>

#include "orchestrator/clock.h"
#include "orchestrator/errors.h"
#include "orchestrator/log.h"
#include "orchestrator/policy.h"

namespace isosweep {
namespace asio = boost::asio;
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
    std::vector<std::string> environment;
    for (char** variable = environ; *variable; ++variable) {
        const std::string_view text = *variable;
        if (text.starts_with("ISOSWEEP_WORKER_TOKEN=")) continue;
        if (!slot.gpu_uuid.empty() && text.starts_with("CUDA_VISIBLE_DEVICES=")) continue;
        environment.emplace_back(text);
    }
    environment.push_back("ISOSWEEP_WORKER_TOKEN=" + token);
    if (!slot.gpu_uuid.empty()) environment.push_back("CUDA_VISIBLE_DEVICES=" + slot.gpu_uuid);
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
    Run(Scheduler& scheduler, const std::vector<PlannedCell>& cells)
        : settings_(scheduler.settings_),
          journal_(scheduler.journal_),
          display_(scheduler.display_),
          hooks_(scheduler.hooks_),
          cells_(cells),
          signals_(io_),
          ticker_(io_),
          saver_(io_),
          places_(settings_.slots.size()) {
        for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCONT})
            if (!is_ignored(number)) signals_.add(number);
        for (std::size_t i = 0; i < cells.size(); ++i) {
            queue_.push_back(i);
            index_of_[cells[i].key] = i;
        }
        for (const Probe& probe : settings_.probes)
            places_.at(probe.slot).probes.push_back(probe.precision);
    }

    SweepEnd run() {
        wait_for_signal();
        if (display_.wants_ticks()) tick();
        asio::post(io_, [this] { fill_slots(); });
        try {
            io_.run();
        } catch (...) {
            for (Place& place : places_)
                if (place.session) place.session->discard();
            throw;
        }
        return end_;
    }

  private:
    /// A slot at work.
    struct Place {
        std::shared_ptr<WorkerSession> session;
        std::deque<Precision> probes;  ///< still to do
        std::string token;             ///< of its worker
        Clock::time_point started;     ///< its current attempt
        std::int64_t started_unix_ms = 0;
        std::string cell;   ///< what it runs, for a person
        std::string phase;  ///< the last that the worker told
    };
    struct Ended {
        std::size_t cell;
        int slot;
        Attempt attempt;
    };

    bool stopping() const {
        return end_.signal != 0 || end_.too_many_failures || !end_.broken.empty();
    }
    bool has_job() const { return !queue_.empty() && !stopping(); }

    void fill_slots() {
        for (std::size_t slot = 0; slot < places_.size() && has_job(); ++slot)
            if (!places_[slot].session) {
                places_[slot].token = random_token();
                if (places_[slot].probes.empty())
                    start_cells(slot);
                else
                    start_probe(slot);
            }
        finish_if_done();
    }

    /// Starts a worker for the next cell, and in a shared sweep for those that follow.
    void start_cells(std::size_t slot) {
        WorkerSession::Hooks hooks;
        hooks.on_phase = [this, slot](const Job&, std::string_view phase) {
            places_[slot].phase = phase;
            display_.cell_phase(static_cast<int>(slot), phase);
        };
        hooks.on_attempt_end = [this, slot](const Job& ended, const Evidence& seen) {
            end_attempt(slot, ended, seen);
        };
        if (settings_.isolation == Isolation::shared) {
            hooks.has_next_job = [this] { return has_job(); };
            hooks.next_job = [this, slot]() -> std::optional<Job> {
                return has_job() ? std::optional(take_job(slot)) : std::nullopt;
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
        hooks.on_phase = [](const Job&, std::string_view) {};
        hooks.on_attempt_end = [this, slot, precision](const Job&, const Evidence& seen) {
            end_probe(settings_.slots[slot].gpu_uuid, precision, classify(seen));
        };
        start_worker(slot, std::move(job), std::move(hooks));
    }

    /// Starts a worker for `job` with the hooks that all workers share.
    void start_worker(std::size_t slot, Job job, WorkerSession::Hooks hooks) {
        Place& place = places_[slot];
        hooks.on_spawn = [this, slot](const Process& process) {
            journal_.write_worker({places_[slot].token, process.pid(), process.start_time(),
                                   static_cast<int>(slot), settings_.slots[slot].gpu_uuid,
                                   places_[slot].session->group()});
        };
        hooks.on_hello = [this](const boost::json::object& facts) { check_hello(facts); };
        hooks.on_end = [this, slot] {
            places_[slot].session.reset();
            fill_slots();
        };
        place.session = std::make_shared<WorkerSession>(io_, settings_.worker, std::move(hooks));
        place.session->start(std::move(job), place.token,
                             worker_environment(place.token, settings_.slots[slot]));
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
        place.started_unix_ms = unix_now_ms();
        place.cell = describe(planned.cell);
        place.phase.clear();
        display_.cell_started(planned, static_cast<int>(slot), job.attempt);
        return job;
    }

    void check_hello(const boost::json::object& facts) {
        const auto text = [&](const char* name) {
            const auto* value = facts.if_contains(name);
            return value && value->is_string() ? std::string(value->get_string()) : std::string();
        };
        const Setting& setting = *journal_.setting();
        const auto* const cuda = facts.if_contains("cuda");
        if (settings_.device == Device::cuda && cuda && *cuda == false)
            throw EnvironmentError(
                "this machine has a GPU, but the worker is built without CUDA: run `make setup "
                "CUDA=on` and build again, or measure with --device cpu --fresh");
        if (!setting.worker && !setting.torch) {
            journal_.write_hello(facts);
            return;
        }
        const auto compare = [&](const char* what, const std::string& then,
                                 const std::string& now) {
            if (then != now)
                throw UsageError(std::string("this sweep was begun with ") + what + " '" + then +
                                 "', now it is '" + now +
                                 "': go on with the former, or start over with --fresh");
        };
        compare("worker build", setting.worker.value_or(""), text("build"));
        compare("torch", setting.torch.value_or(""), text("torch"));
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

    void end_attempt(std::size_t slot, const Job& job, const Evidence& seen) {
        Place& place = places_[slot];
        Attempt attempt;
        attempt.number = job.attempt;
        attempt.outcome = classify(seen);
        attempt.token = place.token;
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
        check_workers_start(seen, attempt.outcome, step.decision);
        if (step.decision == Decision::record) ++recorded_;
        if (step.decision == Decision::record && is_failed(status)) {
            ++failures_;
            if (settings_.max_failures && failures_ >= *settings_.max_failures)
                end_.too_many_failures = true;
        }
        if (step.decision != Decision::record && status != Status::interrupted)
            queue_again(cell, step.delay);
        unsynced_.push_back({cell, static_cast<int>(slot), std::move(attempt)});
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
        finish_if_done();
    }

    void save_soon() {
        if (save_planned_) return;
        save_planned_ = true;
        saver_.expires_at(std::max(Clock::now(), last_save_ + std::chrono::seconds(1)));
        saver_.async_wait([this](const boost::system::error_code& problem) {
            save_planned_ = false;
            if (problem) return;  // the end of the run saves anyway
            hooks_.on_progress();
            last_save_ = Clock::now();
        });
    }

    void finish_if_done() {
        for (const Place& place : places_)
            if (place.session) return;
        if (!unsynced_.empty() || (!stopping() && (!queue_.empty() || delayed_ > 0))) return;
        io_.stop();
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

    /// Stops a sweep in which no worker can be started, before it has failed every cell so.
    void check_workers_start(const Evidence& seen, const Outcome& outcome, Decision decision) {
        constexpr int enough = 3;
        if (seen.hello) {
            a_worker_started_ = true;
        } else if (!a_worker_started_ && outcome.status == Status::spawn_failed &&
                   decision == Decision::record && ++cells_without_worker_ == enough) {
            end_.broken = "no worker can be started; the last of " + std::to_string(enough) +
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

    const SweepSettings& settings_;
    Journal& journal_;
    StatusDisplay& display_;
    const Hooks& hooks_;
    const std::vector<PlannedCell>& cells_;
    asio::io_context io_;
    asio::signal_set signals_;
    asio::steady_timer ticker_;
    asio::steady_timer saver_;
    std::vector<Place> places_;
    std::deque<std::size_t> queue_;  ///< cells to start, by their place in `cells_`
    std::unordered_map<std::string, std::size_t> index_of_;
    std::size_t delayed_ = 0;  ///< cells that wait to be queued again
    std::vector<Ended> unsynced_;
    std::int64_t failures_ = 0;
    std::size_t recorded_ = 0;
    bool a_worker_started_ = false;
    int cells_without_worker_ = 0;
    bool save_planned_ = false;
    Clock::time_point last_save_{};
    SweepEnd end_;
};

Scheduler::Scheduler(SweepSettings settings, Journal& journal, StatusDisplay& display, Hooks hooks)
    : settings_(std::move(settings)),
      journal_(journal),
      display_(display),
      hooks_(std::move(hooks)) {}

SweepEnd Scheduler::run(const std::vector<PlannedCell>& cells) { return Run(*this, cells).run(); }

}  // namespace isosweep
