#include "orchestrator/worker_session.h"

#include <signal.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <type_traits>

#include "orchestrator/errors.h"
#include "orchestrator/log.h"

namespace isosweep {
namespace asio = boost::asio;
using std::chrono::milliseconds;

WorkerSession::WorkerSession(asio::io_context& io, const WorkerCommand& command, Hooks hooks)
    : io_(io), command_(command), hooks_(std::move(hooks)), deadline_(io), stall_(io), grace_(io) {}

void WorkerSession::start(Job job, const std::string& token,
                          const std::vector<std::string>& environment, const Placement& placement) {
    job_ = std::move(job);
    end_part();
    log_.emplace(job_->log, command_.stderr_to_terminal);
    if (!spawn(token, environment, placement))
        asio::post(io_, [self = shared_from_this()] {
            self->end_attempt();
            self->hooks_.on_end();
        });
}

void WorkerSession::stand_by(const std::string& token, const std::vector<std::string>& environment,
                             const Placement& placement) {
    // Why it cannot be started is told when it is tried for a job.
    if (!spawn(token, environment, placement))
        asio::post(io_, [self = shared_from_this()] { self->hooks_.on_end(); });
}

/// \returns whether there is a process; else `seen_` knows why
bool WorkerSession::spawn(const std::string& token, const std::vector<std::string>& environment,
                          const Placement& placement) {
    seen_.behind_launcher = command_.launch.is_launched();
    const auto self = shared_from_this();
    try {
        std::vector<std::string> argv;
        if (command_.memory_limit) {
            group_.emplace(*command_.memory_limit, token);
            argv = group_->launcher();
            // It may be killed before it becomes the worker.
            oom_kills_ = group_->oom_kills();
            oom_kills_before_ = oom_kills_.read();
        }
        const auto launched = launched_argv(command_.argv, command_.launch, token);
        argv.insert(argv.end(), launched.begin(), launched.end());
        process_ =
            Process::spawn(io_, argv, environment,
                           {.on_stdout = [self](std::string_view bytes) { self->on_stdout(bytes); },
                            .on_stderr = [self](std::string_view bytes) { self->on_stderr(bytes); },
                            .on_stdout_end = [self] { self->on_stdout_end(); },
                            .on_end = [self](const ProcessEnd& end) { self->on_process_end(end); }},
                           group_ ? group_->entry() : -1, placement, command_.launch.ties);
    } catch (const Failure&) {
        throw;
    } catch (const std::exception& problem) {
        seen_.spawn_error = problem.what();
        group_.reset();
        ended_ = true;
        return false;
    }
    // The counter of a launcher's own machine says nothing of the worker's.
    if (!group_ && !command_.launch.is_launched()) {
        oom_kills_ = OomKillCounter(process_->pid());
        oom_kills_before_ = oom_kills_.read();
    }
    hooks_.on_spawn(*process_);
    limit_hello();
    return true;
}

bool WorkerSession::is_ready_for_job() const {
    return process_ && !job_ && !ended_ && !retiring_ && seen_.killed_for == KilledFor::nothing;
}

void WorkerSession::give(Job job, Hooks hooks) {
    hooks_ = std::move(hooks);
    job_ = std::move(job);
    end_part();
    log_.emplace(job_->log, command_.stderr_to_terminal);
    if (!early_words_.empty()) log_->write(std::exchange(early_words_, {}));
    resume();
    if (said_hello_) send_request();
}

void WorkerSession::pause() {
    // When it has done what it was asked to prepare, nobody hears of.
    const bool is_idle = said_hello_ && asked_.empty();
    if (paused_ || is_idle || !is_ready_for_job()) return;
    paused_ = true;
    deadline_.expires_at(Timer::time_point::max());
    process_->signal_group(SIGSTOP);
}

void WorkerSession::resume() {
    if (!std::exchange(paused_, false) || ended_) return;
    process_->signal_group(SIGCONT);
    // It may have been said just before we stopped it.
    if (!said_hello_) limit_hello();
}

void WorkerSession::prepare(const std::string& part) {
    if (!said_hello_) return wanted_.push_back(part);
    if (!hello_.offers(part) || !is_ready_for_job() || !asked_.insert(part).second) return;
    process_->write(protocol::prepare_line(part));
}

void WorkerSession::limit_hello() {
    // A launcher may queue for hours.
    if (!command_.launch.is_launched())
        limit(deadline_, command_.start_timeout,
              [this] { kill_politely(KilledFor::no_hello, command_.start_timeout); });
}

void WorkerSession::limit_result() {
    limit(deadline_, command_.timeout,
          [this] { end_overdue(KilledFor::no_result, command_.timeout); });
}

void WorkerSession::restart_limits() {
    if (ended_ || retiring_ || !job_ || seen_.killed_for != KilledFor::nothing ||
        !seen_.results.empty())
        return;
    if (!said_hello_) {
        limit_hello();
        return;
    }
    limit_result();
    sign_of_life();
}

void WorkerSession::abort() {
    if (ended_ || !process_) return;
    kill_now(KilledFor::user, {});
}

void WorkerSession::abort_if_queued() {
    if (command_.launch.is_launched() && !said_hello_) abort();
}

void WorkerSession::leave(std::function<void()> gone) {
    hooks_ = {};
    hooks_.on_end = std::move(gone);
    abort();
}

void WorkerSession::tell_answer() {
    if (!ended_ && !seen_.results.empty()) end_attempt();
}

void WorkerSession::discard() {
    ended_ = true;
    hooks_ = {};
    if (process_) process_->discard();
    group_.reset();
}

void WorkerSession::on_stdout(std::string_view bytes) {
    while (!bytes.empty()) {
        const auto newline = bytes.find('\n');
        const std::string_view part = bytes.substr(0, newline);
        if (!skipping_line_) line_ += part;
        if (line_.size() > protocol::max_line_bytes && !skipping_line_) {
            skipping_line_ = true;  // keep reading, or the worker would block on a full pipe
            on_broken_line("a line of more than 16 MiB");
            line_.clear();
        }
        if (newline == std::string_view::npos) return;
        if (!skipping_line_) on_line(line_);
        skipping_line_ = false;
        line_.clear();
        bytes.remove_prefix(newline + 1);
    }
}

void WorkerSession::on_stderr(std::string_view bytes) {
    constexpr std::size_t enough = std::size_t{64} << 10;
    if (command_.launch.is_cluster()) {
        launcher_words_ += bytes;
        if (launcher_words_.size() > 2 * enough)
            launcher_words_.erase(0, launcher_words_.size() - enough);
    }
    if (log_)
        log_->write(bytes);
    else
        early_words_.append(bytes.substr(0, enough - std::min(enough, early_words_.size())));
}

void WorkerSession::on_line(std::string_view line) {
    const protocol::Reply reply =
        protocol::parse_reply(line, job_ && said_hello_ ? job_->request.nonce : std::string());
    const auto is_ours = [&](const std::string& nonce) {
        return said_hello_ && job_ && nonce == job_->request.nonce;
    };
    std::visit(
        [&](const auto& event) {
            using Event = std::decay_t<decltype(event)>;
            if constexpr (std::is_same_v<Event, protocol::Hello>) {
                if (said_hello_) return on_noise(line);
                meet(event);
            } else if constexpr (std::is_same_v<Event, protocol::Phase>) {
                if (!is_ours(event.nonce)) return on_noise(line);
                seen_.taken = true;
                seen_.phase = event.phase;
                sign_of_life();
                hooks_.on_phase(*job_, event.phase);
            } else if constexpr (std::is_same_v<Event, protocol::Result>) {
                if (!is_ours(event.nonce)) return on_noise(line);
                seen_.taken = true;
                on_result(job_->request.probe.empty()
                              ? protocol::check_result(event.line, job_->request.cell)
                              : protocol::check_probe_result(event.line));
            } else if constexpr (std::is_same_v<Event, protocol::Malformed>) {
                if (!is_ours(event.nonce) && !(event.nonce.empty() && !said_hello_))
                    return on_noise(line);
                seen_.taken = seen_.taken || is_ours(event.nonce);
                on_broken_line(event.reason);
            } else {
                static_assert(std::is_same_v<Event, protocol::Noise>);
                on_noise(line);
            }
        },
        reply);
}

void WorkerSession::meet(const protocol::Hello& hello) {
    said_hello_ = seen_.hello = true;
    if (group_) group_->die_together();  // a scope was not there before
    deadline_.expires_at(Timer::time_point::max());
    // Nothing to ask a worker that we are already ending.
    if (seen_.killed_for != KilledFor::nothing) return;
    hello_ = hello;
    try {
        if (hello.protocol != protocol::version)
            throw EnvironmentError("the worker " + command_.argv.at(command_.argv.size() - 2) +
                                   " speaks protocol " + std::to_string(hello.protocol) +
                                   ", this program speaks " + std::to_string(protocol::version) +
                                   "; use a worker of the same version");
        hooks_.on_hello(hello.facts);
    } catch (const ResultsError&) {
        throw;  // it is not the worker's fault
    } catch (const Failure&) {
        if (!hooks_.on_unfit) throw;
        kill_now(KilledFor::unfit, {});
        hooks_.on_unfit(std::current_exception());
        return;
    }
    if (job_) return send_request();
    for (const std::string& part : std::exchange(wanted_, {})) prepare(part);
}

void WorkerSession::send_request() {
    seen_.hello = true;  // said by this worker, if not for this job
    seen_.times.start = end_part();
    process_->write(protocol::request_line(job_->request));
    // A worker that gets just one request ends by itself when its input does.
    if (!hooks_.has_next_job) process_->close_stdin();
    limit_result();
    oom_kills_before_ = oom_kills_.read();
    sign_of_life();
}

void WorkerSession::sign_of_life() {
    last_sign_ = std::chrono::steady_clock::now();
    if (command_.stall_timeout && seen_.results.empty())
        limit(stall_, *command_.stall_timeout,
              [this] { end_overdue(KilledFor::stalled, *command_.stall_timeout); });
}

void WorkerSession::end_overdue(KilledFor reason, milliseconds limit_of_reason) {
    if (seen_.killed_for != KilledFor::nothing || !seen_.results.empty()) return;
    const auto silent = std::chrono::steady_clock::now() - last_sign_;
    seen_.hung = "the last sign of life was " +
                 format_duration(std::chrono::duration<double, std::milli>(silent).count()) +
                 " before";
    // A launcher's own thread tells nothing of the worker's.
    const std::string activity =
        command_.launch.is_launched() ? std::string() : describe_activity(process_->pid());
    if (!activity.empty()) seen_.hung += ", " + activity;
    kill_politely(reason, limit_of_reason);
}

void WorkerSession::on_result(Outcome outcome) {
    const bool is_first = seen_.results.empty();
    // An answer that comes after its time is up does not count.
    if (is_first && seen_.killed_for != KilledFor::nothing) return;
    seen_.results.push_back(std::move(outcome));
    if (!is_first) return;
    seen_.times.answer = end_part();
    deadline_.expires_at(Timer::time_point::max());
    stall_.expires_at(Timer::time_point::max());
    // A second result in the same bytes shall be seen before the first counts as final.
    asio::post(io_, [self = shared_from_this()] { self->after_result(); });
}

void WorkerSession::after_result() {
    if (ended_ || seen_.killed_for != KilledFor::nothing || retiring_) return;
    const Status status = seen_.results.front().status;
    const bool trusted = seen_.results.size() == 1 && seen_.broken_line.empty() &&
                         status != Status::invalid_result && status != Status::crash;
    if (trusted && hooks_.has_next_job && hooks_.has_next_job()) {
        // A result is final when the next request is written; the last one's, when the worker ends.
        end_attempt();
        job_ = hooks_.next_job();
        if (job_) {
            end_part();
            log_.emplace(job_->log, command_.stderr_to_terminal);
            seen_ = Evidence{};
            seen_.reused = true;
            seen_.behind_launcher = command_.launch.is_launched();
            send_request();
            return;
        }
    }
    retiring_ = true;
    process_->close_stdin();
    limit(grace_, command_.kill_grace,
          [this] { kill_now(KilledFor::no_exit, command_.kill_grace); });
    if (hooks_.on_answer) hooks_.on_answer();
}

/// \returns the milliseconds that the part took which ends now
double WorkerSession::end_part() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(part_began_, now)).count();
}

void WorkerSession::on_broken_line(std::string reason) {
    if (seen_.broken_line.empty()) seen_.broken_line = std::move(reason);
    if (retiring_) return;
    retiring_ = true;
    deadline_.expires_at(Timer::time_point::max());
    process_->close_stdin();
    limit(grace_, command_.kill_grace,
          [this] { kill_now(KilledFor::bad_result, command_.kill_grace); });
}

void WorkerSession::on_noise(std::string_view line) {
    ++seen_.noise_lines;
    on_stderr(std::string(line) + "\n");
}

void WorkerSession::on_stdout_end() {
    if (!line_.empty() && !skipping_line_) {
        seen_.partial_line = true;
        on_stderr(line_ + "\n");
    }
    if (!job_) retiring_ = true;  // it can never answer
    if (!seen_.results.empty() || (job_ && retiring_) || seen_.killed_for != KilledFor::nothing)
        return;
    // Most often it is ending just now; who closes stdout and lives on can never answer.
    limit(grace_, command_.kill_grace,
          [this] { kill_now(KilledFor::stdout_closed, command_.kill_grace); });
}

void WorkerSession::on_process_end(const ProcessEnd& end) {
    seen_.end = end;
    seen_.oom_killed = oom_kills_before_ && oom_kills_.read() > oom_kills_before_;
    if (group_ && group_->was_at_limit()) seen_.over_limit = group_->limit().bytes;
    // Who left the worker's process group is still in this one.
    group_.reset();
    deadline_.cancel();
    stall_.cancel();
    grace_.cancel();
    ended_ = true;
    if (seen_.times.answer) seen_.times.exit = end_part();
    hear_launcher(end);
    end_attempt();
    hooks_.on_end();
}

void WorkerSession::hear_launcher(const ProcessEnd& end) {
    const LauncherVerdict verdict =
        read_verdict(command_.launch, launcher_words_, end,
                     !seen_.results.empty() || !seen_.broken_line.empty());
    seen_.taken_away = verdict.taken_away;
    seen_.launcher_oom = verdict.out_of_memory;
}

void WorkerSession::end_attempt() {
    if (!job_) return;
    seen_.last_words = log_->last_words();
    log_->close();
    if (!log_->problem().empty()) log::warning("the log is not whole: " + log_->problem());
    const Job job = *std::exchange(job_, std::nullopt);
    hooks_.on_attempt_end(job, seen_);
}

void WorkerSession::limit(Timer& timer, milliseconds after, std::function<void()> then) {
    timer.expires_after(after);
    // A wait that was over before it could be cancelled speaks of a job that is done.
    timer.async_wait([self = shared_from_this(), then = std::move(then), &timer, after,
                      expiry = timer.expiry()](const boost::system::error_code& problem) {
        if (problem || self->ended_ || timer.expiry() != expiry) return;
        // So late only where this program, or the machine, was stopped meanwhile: what the worker
        // said in that time is still to be read.
        constexpr milliseconds on_time(500);
        if (Timer::clock_type::now() - expiry > on_time)
            self->limit(timer, after, then);
        else
            then();
    });
}

void WorkerSession::kill_politely(KilledFor reason, milliseconds limit_of_reason) {
    if (seen_.killed_for != KilledFor::nothing) return;
    seen_.killed_for = reason;
    seen_.limit = limit_of_reason;
    process_->signal_group(SIGTERM);
    limit(grace_, command_.kill_grace, [this] { process_->kill(); });
}

void WorkerSession::kill_now(KilledFor reason, milliseconds limit_of_reason) {
    // What already decides the outcome stays the reason.
    if (seen_.killed_for == KilledFor::nothing) {
        seen_.killed_for = reason;
        seen_.limit = limit_of_reason;
    }
    process_->kill();
}

}  // namespace isosweep
