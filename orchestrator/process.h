#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "orchestrator/placement.h"

namespace boost::asio {
class io_context;
}

namespace isosweep {

/// A process that ended by itself or with an exit code of its own.
struct Exited {
    int code = 0;
    bool operator==(const Exited&) const = default;
};
/// A process that a signal ended, ours or another's.
struct Signaled {
    int number = 0;
    bool operator==(const Signaled&) const = default;
};
/// How a process ended. A signal is never folded into an exit code.
using ProcessEnd = std::variant<Exited, Signaled>;

/// "SIGSEGV"; "signal 63" where there is no name.
std::string signal_name(int number);

/// "exit code 3" or "SIGSEGV".
std::string describe(const ProcessEnd& end);

/// How a child hangs on this program, and how it is ended.
struct ProcessTies {
    int death_signal = SIGKILL;  ///< what it gets when the thread that spawned it ends
    bool own_session = false;    ///< a session of its own, not just a group
    /// How long `kill` waits after a SIGTERM before it sends the SIGKILL. Zero: there is no
    /// SIGTERM.
    std::chrono::milliseconds patience{};
    /// How long the others of its group may still tidy up when it was killed. Zero: they are killed
    /// with it.
    std::chrono::milliseconds farewell{};
};

/// A child process with pipes on its three standard streams, in a process group of its own, that
/// dies with this program, as its ties say. Passive: it reports what happens through the handlers
/// and decides nothing.
///
/// When the process has ended, its group is killed, so that nothing it left behind lives on or
/// holds a pipe.
class Process {
  public:
    struct Handlers {
        std::function<void(std::string_view bytes)> on_stdout;
        std::function<void(std::string_view bytes)> on_stderr;
        std::function<void()> on_stdout_end;            ///< its last writer closed it
        std::function<void(const ProcessEnd&)> on_end;  ///< once, when reaped and both pipes read
    };

    /// Starts `argv` (the program is searched in PATH where it has no '/') with exactly this
    /// environment ("NAME=value"). Handlers run on `io`'s thread, none before this returns.
    /// \param group_entry the file cgroup.procs of a control group, open for writing, that the
    /// process enters before it becomes the program; -1: it stays in ours
    /// \param placement where it runs; of that what the kernel refuses is left out
    /// \throws std::runtime_error "cannot start PROGRAM: reason"
    static std::shared_ptr<Process> spawn(boost::asio::io_context& io,
                                          const std::vector<std::string>& argv,
                                          const std::vector<std::string>& environment,
                                          Handlers handlers, int group_entry = -1,
                                          const Placement& placement = {},
                                          const ProcessTies& ties = {});

    virtual ~Process() = default;

    virtual pid_t pid() const = 0;
    /// When it started, in clock ticks since boot, as /proc/PID/stat has it: with the pid it names
    /// the process for ever.
    virtual std::uint64_t start_time() const = 0;
    /// Queues bytes for its standard input. What a process does not read is dropped when it ends.
    virtual void write(std::string bytes) = 0;
    /// Closes its standard input behind what is queued.
    virtual void close_stdin() = 0;
    /// Sends a signal to its whole group; nothing where it has ended.
    virtual void signal_group(int number) = 0;
    /// Ends it as its ties ask for: its whole group at once, or politely first.
    virtual void kill() = 0;
    /// Kills and reaps it before this returns; no handler is called any more.
    virtual void discard() = 0;
};

/// The program that `name` stands for: itself where it has a '/', else the first executable of that
/// name in PATH. Empty where there is none.
std::string find_program(const std::string& name);

/// Start time of a process as in /proc/PID/stat, or 0 where it is gone.
std::uint64_t process_start_time(pid_t pid);

/// Names the machine's present boot: process ids and start times mean nothing beyond it. Empty
/// where the kernel does not tell.
std::string boot_id();

/// What a process does now, for a person: "its main thread sleeps in futex_do_wait"; empty where it
/// is gone. The kernel may not tell where it sleeps.
std::string describe_activity(pid_t pid);

/// Makes this process the parent of orphaned grandchildren, so that they can be reaped.
void become_subreaper();

/// Kills and reaps every child of this process that no Process stands for: what workers left behind
/// outside of their groups. After `become_subreaper` none can escape it.
void reap_leftovers();

}  // namespace isosweep
