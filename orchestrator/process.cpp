#include "orchestrator/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/process/v2/default_launcher.hpp>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "orchestrator/files.h"

#ifndef P_PIDFD
#define P_PIDFD 3  // glibc 2.36 declares it in an enum only
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

namespace isosweep {
namespace asio = boost::asio;
namespace bp = boost::process::v2;
namespace {

using Stream = asio::posix::stream_descriptor;

/// What the child does between vfork and exec. It shares our memory until then: only
/// async-signal-safe calls, and nothing is written but its own stack.
struct ChildSetup {
    int in;
    int out;
    int err;
    int group_entry;
    const Placement& placement;
    ProcessTies ties;
    pid_t parent = ::getpid();

    /// \returns whether all was done; else errno says why not
    bool run() const {
        if ((ties.own_session ? ::setsid() : ::setpgid(0, 0)) == -1 ||
            ::prctl(PR_SET_PDEATHSIG, ties.death_signal) == -1)
            return false;
        if (::getppid() != parent) ::_exit(125);  // it died before the prctl
        // Before the program can take memory or start others: "0" is whoever writes it.
        if (group_entry >= 0 && ::write(group_entry, "0", 1) != 1) return false;
        // A worker may run anywhere; what it got of this is looked up afterwards.
        if (!placement.cpus.empty()) run_on(placement.cpus);
        if (placement.memory_node) prefer_memory_of(*placement.memory_node);
        // The mask and what we inherited as ignored would survive the exec. The handlers first: one
        // of ours would take a signal to the child for one to us.
        for (int number = 1; number < 32; ++number)
            if (number != SIGKILL && number != SIGSTOP) ::signal(number, SIG_DFL);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        // A core of LibTorch is tens of GB. 1, not 0: a core pattern that is a pipe ignores 0.
        const rlimit core{1, 1};
        ::setrlimit(RLIMIT_CORE, &core);
        // The kernel's OOM killer shall choose the worker, not whoever keeps the results.
        if (const int adjust = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
            adjust >= 0) {
            [[maybe_unused]] const auto written = ::write(adjust, "1000", 4);
            ::close(adjust);
        }
        if (::dup2(in, 0) == -1 || ::dup2(out, 1) == -1 || ::dup2(err, 2) == -1) return false;
        return ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
    }
};

struct PipeEnds {
    FileDescriptor read;
    FileDescriptor write;
};

PipeEnds make_pipe() {
    std::array<int, 2> fds{};
    if (::pipe2(fds.data(), O_CLOEXEC) != 0)
        throw std::runtime_error(std::string("cannot make a pipe: ") + std::strerror(errno));
    return {FileDescriptor(fds[0]), FileDescriptor(fds[1])};
}

/// Boost's launcher with a vfork: a fork copies the page tables of all that the journal holds, and
/// Boost has the child list its descriptors and register ours anew, for each worker. Its own
/// vfork_launcher would do the latter in our memory.
class Launcher : public bp::default_process_launcher {
  public:
    /// \returns the process \throws std::system_error where it could not be set up or executed
    pid_t start(const bp::filesystem::path& program, const std::vector<std::string>& arguments,
                const char* const* environment, const ChildSetup& setup) {
        const char* const* const argv = build_argv_(program, arguments);
        // Not through the memory that a vfork shares: the thread sanitizer makes a fork of it.
        PipeEnds report = make_pipe();
        sigset_t all;
        sigset_t before;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, &before);
        // posix_spawn has no room for what the setup does.
        const pid_t child = ::vfork();  // NOLINT(bugprone-unsafe-functions)
        if (child == 0) {
            if (setup.run())
                ::execve(program.c_str(), const_cast<char* const*>(argv),
                         const_cast<char* const*>(environment));
            const int reason = errno;
            [[maybe_unused]] const auto written =
                ::write(report.write.get(), &reason, sizeof reason);
            ::_exit(127);
        }
        int problem = child < 0 ? errno : 0;
        report.write = {};
        const bool runs = child > 0 && ::read(report.read.get(), &problem, sizeof problem) <= 0;
        ::sigprocmask(SIG_SETMASK, &before, nullptr);
        if (runs) return child;
        if (child > 0) ::waitpid(child, nullptr, 0);
        throw std::system_error(problem, std::system_category());
    }
};

/// The children that a Process stands for.
std::set<pid_t>& live_processes() {
    static std::set<pid_t> pids;
    return pids;
}

class AsioProcess final : public Process, public std::enable_shared_from_this<AsioProcess> {
  public:
    AsioProcess(asio::io_context& io, Handlers handlers, const ProcessTies& ties)
        : handlers_(std::move(handlers)),
          ties_(ties),
          stdin_(io),
          stdout_(io),
          stderr_(io),
          exit_(io),
          drain_(io),
          patience_(io) {}

    ~AsioProcess() override { kill_and_reap(); }

    void start(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
               int group_entry, const Placement& placement) {
        const std::string program = find_program(argv.at(0));
        if (program.empty())
            throw std::runtime_error("cannot start " + argv[0] + ": no such program in PATH");
        std::vector<const char*> variables;
        for (const std::string& variable : environment) variables.push_back(variable.c_str());
        variables.push_back(nullptr);

        PipeEnds in = make_pipe();
        PipeEnds out = make_pipe();
        PipeEnds err = make_pipe();
        try {
            pid_ = Launcher().start(
                program, {argv.begin() + 1, argv.end()}, variables.data(),
                {in.read.get(), out.write.get(), err.write.get(), group_entry, placement, ties_});
        } catch (const std::system_error& problem) {
            throw std::runtime_error(
                "cannot start " + argv[0] +
                (group_entry >= 0 ? " or put it into its control group: " : ": ") +
                problem.code().message());
        }
        live_processes().insert(pid_);
        start_time_ = process_start_time(pid_);

        const auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
        if (pidfd < 0) throw std::runtime_error(std::string("pidfd_open: ") + std::strerror(errno));
        exit_.assign(pidfd);
        ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
        stdin_.assign(in.write.release());
        stdout_.assign(out.read.release());
        stderr_.assign(err.read.release());

        read_stream(stdout_, stdout_buffer_, handlers_.on_stdout, [this] {
            stdout_open_ = false;
            if (handlers_.on_stdout_end) handlers_.on_stdout_end();
        });
        read_stream(stderr_, stderr_buffer_, handlers_.on_stderr, [this] { stderr_open_ = false; });
        wait_for_exit();
    }

    pid_t pid() const override { return pid_; }
    std::uint64_t start_time() const override { return start_time_; }

    void write(std::string bytes) override {
        if (!stdin_.is_open()) return;
        queue_.push_back(std::move(bytes));
        if (queue_.size() == 1) write_next();
    }

    void close_stdin() override {
        close_behind_queue_ = true;
        if (queue_.empty() && stdin_.is_open()) stdin_.close();
    }

    void signal_group(int number) override {
        if (!end_) ::kill(-pid_, number);
    }

    void kill() override {
        if (end_) return;
        if (ties_.patience.count() == 0) return signal_group(SIGKILL);
        signal_group(SIGTERM);
        patience_.expires_after(ties_.patience);
        patience_.async_wait([self = shared_from_this()](const bp::error_code& problem) {
            if (!problem && !self->end_) ::kill(self->pid_, SIGKILL);
        });
    }

    void discard() override {
        kill_and_reap();
        finished_ = true;
        // Whoever handles this may own us: without handlers the circle is broken.
        handlers_ = {};
    }

  private:
    // Without a wait the process would stay a zombie; with its group gone it cannot block.
    void kill_and_reap() {
        if (pid_ <= 0 || end_) return;
        if (ties_.patience.count() > 0) {
            ::kill(-pid_, SIGTERM);
            if (!ends_within(ties_.patience)) {
                ::kill(pid_, SIGKILL);
                std::this_thread::sleep_for(ties_.farewell);
            }
        }
        ::kill(-pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        end_ = Signaled{SIGKILL};
        live_processes().erase(pid_);
    }

    /// Waits for its end without reaping it. \returns whether it came
    bool ends_within(std::chrono::milliseconds limit) const {
        constexpr std::chrono::milliseconds pause(10);
        for (auto waited = pause * 0; waited < limit; waited += pause) {
            siginfo_t info{};
            if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT | WNOHANG) != 0 ||
                info.si_pid != 0)
                return true;
            std::this_thread::sleep_for(pause);
        }
        return false;
    }

    void write_next() {
        asio::async_write(
            stdin_, asio::buffer(queue_.front()),
            [self = shared_from_this()](const boost::system::error_code& problem, std::size_t) {
                // EPIPE is no news: how the process ends will tell.
                if (problem) self->queue_.clear();
                if (!self->queue_.empty()) self->queue_.pop_front();
                if (!self->queue_.empty())
                    self->write_next();
                else if ((problem || self->close_behind_queue_) && self->stdin_.is_open())
                    self->stdin_.close();
            });
    }

    template <class OnEnd>
    void read_stream(Stream& stream, std::array<char, 65536>& buffer,
                     const std::function<void(std::string_view)>& on_bytes, OnEnd on_end) {
        stream.async_read_some(asio::buffer(buffer),
                               [self = shared_from_this(), &stream, &buffer, &on_bytes, on_end](
                                   const boost::system::error_code& problem, std::size_t got) {
                                   if (got > 0 && on_bytes) on_bytes({buffer.data(), got});
                                   if (!problem) {
                                       self->read_stream(stream, buffer, on_bytes, on_end);
                                       return;
                                   }
                                   on_end();
                                   self->finish_when_drained();
                               });
    }

    void wait_for_exit() {
        exit_.async_wait(Stream::wait_read,
                         [self = shared_from_this()](const boost::system::error_code& problem) {
                             if (problem) return;
                             siginfo_t info{};
                             // Readiness can be spurious (ptrace): look without waiting, and
                             // without reaping yet.
                             if (::waitid(static_cast<idtype_t>(P_PIDFD),
                                          static_cast<id_t>(self->exit_.native_handle()), &info,
                                          WEXITED | WNOWAIT | WNOHANG) != 0 ||
                                 info.si_pid == 0) {
                                 self->wait_for_exit();
                                 return;
                             }
                             self->reap_when_tidy(info.si_code != CLD_EXITED);
                         });
    }

    void reap_when_tidy(bool was_killed) {
        patience_.cancel();
        if (!was_killed || ties_.farewell.count() == 0) return reap();
        patience_.expires_after(ties_.farewell);
        patience_.async_wait([self = shared_from_this()](const bp::error_code& problem) {
            if (!problem && !self->end_) self->reap();
        });
    }

    void reap() {
        // The zombie still pins the group's id, so that this can hit nobody else.
        ::kill(-pid_, SIGKILL);
        int status = 0;
        ::waitpid(pid_, &status, 0);
        end_ = WIFSIGNALED(status) ? ProcessEnd(Signaled{WTERMSIG(status)})
                                   : ProcessEnd(Exited{WEXITSTATUS(status)});
        exit_.close();
        live_processes().erase(pid_);
        // Somebody who left the group may hold a pipe for ever: what is not there soon never comes.
        drain_.expires_after(std::chrono::milliseconds(500));
        drain_.async_wait([self = shared_from_this()](const boost::system::error_code& problem) {
            if (problem) return;
            if (self->stdout_open_) self->stdout_.close();
            if (self->stderr_open_) self->stderr_.close();
        });
        finish_when_drained();
    }

    void finish_when_drained() {
        if (!end_ || stdout_open_ || stderr_open_ || finished_) return;
        finished_ = true;
        drain_.cancel();
        reap_leftovers();
        if (stdin_.is_open()) stdin_.close();
        // Whoever handles this may own us: handing the handlers over breaks the circle.
        const auto on_end = std::move(handlers_.on_end);
        handlers_ = {};
        if (on_end) on_end(*end_);
    }

    Handlers handlers_;
    ProcessTies ties_;
    Stream stdin_;
    Stream stdout_;
    Stream stderr_;
    Stream exit_;
    asio::steady_timer drain_;
    asio::steady_timer patience_;  ///< until the SIGKILL, and then until its group goes
    std::array<char, 65536> stdout_buffer_;
    std::array<char, 65536> stderr_buffer_;
    std::deque<std::string> queue_;
    bool close_behind_queue_ = false;
    bool stdout_open_ = true;
    bool stderr_open_ = true;
    bool finished_ = false;
    pid_t pid_ = -1;
    std::uint64_t start_time_ = 0;
    std::optional<ProcessEnd> end_;
};

}  // namespace

std::string signal_name(int number) {
    const char* const name = ::sigabbrev_np(number);
    return name ? std::string("SIG") + name : "signal " + std::to_string(number);
}

std::string describe(const ProcessEnd& end) {
    struct Visitor {
        std::string operator()(const Exited& exited) const {
            return "exit code " + std::to_string(exited.code);
        }
        std::string operator()(const Signaled& signaled) const {
            return signal_name(signaled.number);
        }
    };
    return std::visit(Visitor{}, end);
}

std::shared_ptr<Process> Process::spawn(asio::io_context& io, const std::vector<std::string>& argv,
                                        const std::vector<std::string>& environment,
                                        Handlers handlers, int group_entry,
                                        const Placement& placement, const ProcessTies& ties) {
    auto process = std::make_shared<AsioProcess>(io, std::move(handlers), ties);
    process->start(argv, environment, group_entry, placement);
    return process;
}

std::string find_program(const std::string& name) {
    if (name.find('/') != std::string::npos) return name;
    const char* const path = std::getenv("PATH");
    std::string_view folders = path ? path : "/usr/local/bin:/usr/bin:/bin";
    while (true) {
        const auto colon = folders.find(':');
        const std::string_view folder = folders.substr(0, colon);
        std::string candidate = (folder.empty() ? "." : std::string(folder)) + "/" + name;
        if (::access(candidate.c_str(), X_OK) == 0) return candidate;
        if (colon == std::string_view::npos) return {};
        folders.remove_prefix(colon + 1);
    }
}

std::uint64_t process_start_time(pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(stat, line);
    // The second field, the program's name in brackets, may hold blanks; the 22nd is what we want.
    const auto bracket = line.rfind(')');
    if (bracket == std::string::npos) return 0;
    std::size_t at = bracket + 1;
    for (int field = 2; field < 22; ++field) {
        at = line.find(' ', at);
        if (at == std::string::npos) return 0;
        ++at;
    }
    return std::strtoull(line.c_str() + at, nullptr, 10);
}

std::string boot_id() {
    std::string id;
    std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
    return id;
}

std::string describe_activity(pid_t pid) {
    const std::string folder = "/proc/" + std::to_string(pid);
    std::string line;
    std::getline(std::ifstream(folder + "/stat"), line);
    const auto bracket = line.rfind(')');  // the program's name in brackets may hold anything
    if (bracket == std::string::npos || bracket + 2 >= line.size()) return {};
    const char state = line[bracket + 2];
    const std::string does = state == 'R'   ? "runs"
                             : state == 'S' ? "sleeps"
                             : state == 'D' ? "waits for the kernel"
                             : state == 'T' ? "is stopped"
                             : state == 't' ? "is held by a debugger"
                                            : std::string("is in state ") + state;
    std::string where;
    std::getline(std::ifstream(folder + "/wchan"), where);
    return "its main thread " + does + (where.empty() || where == "0" ? "" : " in " + where);
}

void reap_leftovers() {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream children(task.path() / "children");
        for (pid_t pid = 0; children >> pid;) {
            // What is in a living one's group may be tidying up for it.
            if (live_processes().contains(pid) || live_processes().contains(::getpgid(pid)))
                continue;
            ::kill(pid, SIGKILL);
            ::waitpid(pid, nullptr, 0);
        }
    }
}

void become_subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

}  // namespace isosweep
