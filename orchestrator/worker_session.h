#pragma once

#include <isosweep/protocol.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/cell_log.h"
#include "orchestrator/control_group.h"
#include "orchestrator/evidence.h"
#include "orchestrator/launcher.h"
#include "orchestrator/oom_kills.h"
#include "orchestrator/process.h"

namespace isosweep {

/// One attempt at a cell, or one probe, as a worker gets it.
struct Job {
    std::string key;  ///< the cell's; empty for a probe
    int attempt = 1;
    protocol::Request request;
    std::filesystem::path log;  ///< where what the worker prints goes
};

/// How workers are started, fed and ended; the same for all of a sweep.
struct WorkerCommand {
    std::vector<std::string> argv;  ///< launcher, worker, "--serve"
    LaunchTraits launch;
    std::chrono::milliseconds timeout{};
    std::optional<std::chrono::milliseconds> stall_timeout;
    std::chrono::milliseconds start_timeout{};
    std::chrono::milliseconds kill_grace{};
    bool stderr_to_terminal = false;
    std::optional<MemoryLimit> memory_limit;  ///< each worker is held to it
};

/// One worker from its spawn to its end, speaking the protocol: it answers one job after another
/// and is ended when there is none, when it breaks the protocol or when it takes too long.
///
/// Usage: `start` once; then the hooks tell what happens, `on_attempt_end` once for each job and
/// `on_end` once, last. A worker may also be started before there is a job for it (`stand_by`): it
/// loads its libraries, says hello and waits for `give`.
class WorkerSession : public std::enable_shared_from_this<WorkerSession> {
  public:
    struct Hooks {
        /// The process runs.
        std::function<void(const Process&)> on_spawn;
        /// Its hello, before it gets a request. An exception says why the worker does not fit.
        std::function<void(const boost::json::object& facts)> on_hello;
        /// That reason, a Failure: the worker is being killed. Where absent, it is thrown.
        std::function<void(std::exception_ptr why)> on_unfit;
        /// A sign of life.
        std::function<void(const Job&, std::string_view phase)> on_phase;
        /// It has answered a job and gets no other: what is left is its end. May be absent.
        std::function<void()> on_answer;
        /// The attempt is over.
        std::function<void(const Job&, const Evidence&)> on_attempt_end;
        /// Whether another job waits for this worker; absent where it gets just one.
        std::function<bool()> has_next_job;
        /// That job, after the end of the one before was told.
        std::function<std::optional<Job>()> next_job;
        /// The process is gone and every attempt told.
        std::function<void()> on_end;
    };

    WorkerSession(boost::asio::io_context& io, const WorkerCommand& command, Hooks hooks);

    /// Starts a worker for `job`. What goes wrong is told through the hooks.
    /// \param token the worker's, which names its control group where it has one
    void start(Job job, const std::string& token, const std::vector<std::string>& environment,
               const Placement& placement);

    /// Starts a worker that has no job yet. Of the hooks, those that come before a job count.
    void stand_by(const std::string& token, const std::vector<std::string>& environment,
                  const Placement& placement);

    /// Whether a worker that stands by can be given a job.
    bool is_ready_for_job() const;

    /// Gives its job to a worker that stands by; these hooks count from now on.
    void give(Job job, Hooks hooks);

    /// Stops a worker that stands by and is still starting or preparing, so that it takes no time
    /// from others that are measured, and lets it go on. One that just waits for its job takes
    /// none.
    void pause();
    void resume();

    /// Lets a worker that stands by load the driver, or create its context on the device, as soon
    /// as it can, if it offers to.
    void prepare_driver() { prepare("driver"); }
    void prepare_context() { prepare("context"); }
    /// Whether it was asked to and has one, or will soon.
    bool has_context() const { return asked_.contains("context"); }

    /// The folder of the worker's own control group; empty where it has none.
    std::string group() const { return group_ ? group_->folder().string() : std::string(); }

    /// Begins the limits of time anew: this program was stopped for a while, and could not listen.
    void restart_limits();

    /// Kills the worker now; its job ends as interrupted.
    void abort();
    /// Does so where a launcher has not brought the worker to its hello: it may queue for hours.
    void abort_if_queued();
    /// Kills a worker that stands by; `gone` is called when it is. Nothing else is told.
    void leave(std::function<void()> gone);
    /// Tells the end of an attempt that is answered, while its worker is still ending: how that
    /// goes will not be seen.
    void tell_answer();
    /// Kills the worker now and tells nobody. For leaving in a hurry.
    void discard();

  private:
    using Timer = boost::asio::steady_timer;

    void prepare(const std::string& part);
    bool spawn(const std::string& token, const std::vector<std::string>& environment,
               const Placement& placement);
    void on_stdout(std::string_view bytes);
    void on_stderr(std::string_view bytes);
    void on_line(std::string_view line);
    void on_result(Outcome outcome);
    void on_broken_line(std::string reason);
    void on_noise(std::string_view line);
    void on_stdout_end();
    void on_process_end(const ProcessEnd& end);
    void meet(const protocol::Hello& hello);
    void send_request();
    void limit_hello();
    void limit_result();
    void sign_of_life();
    void end_overdue(KilledFor reason, std::chrono::milliseconds limit);
    void after_result();
    void hear_launcher(const ProcessEnd& end);
    double end_part();
    void end_attempt();
    void limit(Timer& timer, std::chrono::milliseconds after, std::function<void()> then);
    void kill_politely(KilledFor reason, std::chrono::milliseconds limit);
    void kill_now(KilledFor reason, std::chrono::milliseconds limit);

    boost::asio::io_context& io_;
    const WorkerCommand& command_;
    Hooks hooks_;
    std::shared_ptr<Process> process_;
    std::optional<ControlGroup> group_;  ///< with a memory limit alone
    std::optional<Job> job_;  ///< the job at hand; none before the first and after the last
    std::optional<CellLog> log_;
    std::string launcher_words_;  ///< the end of its stderr, behind a cluster's launcher alone
    std::string early_words_;     ///< what it printed before there was a job whose log it goes to
    Evidence seen_;
    std::string line_;            ///< the line that is being received
    bool skipping_line_ = false;  ///< it is too long and already told
    bool said_hello_ = false;
    bool paused_ = false;
    protocol::Hello hello_;
    std::vector<std::string> wanted_;  ///< parts to prepare when it has said hello, in this order
    std::set<std::string> asked_;      ///< parts that it was told to prepare
    bool retiring_ = false;            ///< gets no further job
    bool ended_ = false;
    /// When the job at hand reached its present part: given, asked for, answered.
    std::chrono::steady_clock::time_point part_began_;
    std::chrono::steady_clock::time_point last_sign_;  ///< of life, for the job at hand
    OomKillCounter oom_kills_;
    std::optional<std::int64_t> oom_kills_before_;
    Timer deadline_;
    Timer stall_;
    Timer grace_;
};

}  // namespace isosweep
