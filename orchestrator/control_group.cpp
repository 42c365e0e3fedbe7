#include "orchestrator/control_group.h"

#include <fcntl.h>
#include <isosweep/text.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "orchestrator/environment.h"
#include "orchestrator/errors.h"
#include "orchestrator/process.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// Writes an existing file in one go, as the kernel wants it. \returns 0, or what went wrong
int write_value(const fs::path& file, const std::string& value) {
    const FileDescriptor fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC | O_TRUNC));
    if (!fd) return errno;
    return ::write(fd.get(), value.data(), value.size()) < 0 ? errno : 0;
}

std::vector<std::string> words_of(const fs::path& file) {
    std::vector<std::string> words;
    std::ifstream stream(file);
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

bool has_word(const fs::path& file, const std::string& wanted) {
    for (const std::string& word : words_of(file))
        if (word == wanted) return true;
    return false;
}

/// Leaves `folder` for a group below it, and hands the memory controller down.
void give_up_own_group(pid_t pid, const fs::path& folder) {
    const std::string self = std::to_string(pid);
    if (words_of(folder / "cgroup.procs") != std::vector<std::string>{self})
        throw std::runtime_error(folder.string() +
                                 " has other processes beside this one, and so none can be below");
    const fs::path leaf = folder / ("isosweep-" + self);
    if (::mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST)
        throw std::runtime_error("cannot make " + leaf.string() + ": " + std::strerror(errno));
    int problem = write_value(leaf / "cgroup.procs", self);
    if (problem == 0) problem = write_value(folder / "cgroup.subtree_control", "+memory");
    if (problem == 0) return;
    write_value(folder / "cgroup.procs", self);
    ::rmdir(leaf.c_str());
    throw std::runtime_error("cannot hand on the memory controller of " + folder.string() + ": " +
                             std::strerror(problem));
}

void kill_all_in(const fs::path& folder) {
    if (write_value(folder / "cgroup.kill", "1") == 0) return;
    // Version 1, and kernels before 5.14, have no such file.
    for (const std::string& word : words_of(folder / "cgroup.procs")) {
        const auto pid = static_cast<pid_t>(std::strtol(word.c_str(), nullptr, 10));
        // 0 stands for somebody outside of what we can see.
        if (pid > 1 && pid != ::getpid()) ::kill(pid, SIGKILL);
    }
}

/// Kills who is in a group and removes it. \returns whether it is gone
bool remove_group(const fs::path& folder) {
    // Whoever was killed is in the group until its memory is given back.
    for (int tries = 0; tries < 200; ++tries) {
        if (::rmdir(folder.c_str()) == 0 || errno == ENOENT) return true;
        if (errno != EBUSY) return false;
        kill_all_in(folder);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

struct Said {
    std::string out;
    std::string err;
    std::optional<ProcessEnd> end;
};

/// Runs a program to its end, or for ten seconds.
Said run_program(const std::vector<std::string>& argv) {
    Said said;
    boost::asio::io_context io;
    boost::asio::steady_timer limit(io, std::chrono::seconds(10));
    const auto process =
        Process::spawn(io, argv, own_environment(),
                       {.on_stdout = [&](std::string_view bytes) { said.out += bytes; },
                        .on_stderr = [&](std::string_view bytes) { said.err += bytes; },
                        .on_stdout_end = {},
                        .on_end =
                            [&](const ProcessEnd& end) {
                                said.end = end;
                                limit.cancel();
                            }});
    limit.async_wait([&](const boost::system::error_code& problem) {
        if (!problem) process->signal_group(SIGKILL);
    });
    process->close_stdin();
    io.run();
    return said;
}

std::vector<std::string> systemd_run(std::int64_t bytes, const std::string& unit) {
    // A scope is no service: systemd-run becomes the command, so that it stays our child.
    return {"systemd-run", "--user",          "--scope", "--quiet",
            "--collect",   "--unit=" + unit,  "-p",      "MemoryMax=" + std::to_string(bytes),
            "-p",          "MemorySwapMax=0", "--"};
}

/// Stands where a worker's token does, and can be no other process'.
std::string trial_name() {
    return "try-" + std::to_string(::getpid()) + "-" +
           std::to_string(process_start_time(::getpid()));
}

/// Where the user's systemd puts scopes, tried with one.
GroupHome scope_home(std::int64_t bytes) {
    std::vector<std::string> argv = systemd_run(bytes, "isosweep-" + trial_name() + ".scope");
    // Older versions, and version 1, take the properties and do nothing: only the file tells.
    argv.insert(argv.end(), {"sh", "-c",
                             "group=$(sed -n s/^0:://p /proc/self/cgroup); echo \"$group\"; "
                             "cat \"/sys/fs/cgroup$group/memory.max\""});
    const Said said = run_program(argv);
    if (said.end != ProcessEnd(Exited{0}))
        throw std::runtime_error(
            one_line(said.err.empty() && said.end ? describe(*said.end) : said.err, 200));
    const auto newline = said.out.find('\n');
    const std::int64_t page = ::sysconf(_SC_PAGESIZE);
    if (newline == std::string::npos ||
        trim(said.out.substr(newline)) != std::to_string(bytes / page * page))
        throw std::runtime_error("its scopes have no memory limit");
    const fs::path group = fs::path(said.out.substr(0, newline)).relative_path();
    return {GroupHome::Maker::systemd, 2, "/sys/fs/cgroup" / group.parent_path()};
}

}  // namespace

GroupHome own_group_home(pid_t pid, const OomKillCounter::Roots& roots) {
    const std::vector<MemoryGroup> groups = memory_groups(pid, roots);
    if (groups.empty()) throw std::runtime_error("this process is in no control group for memory");
    MemoryGroup own = groups.front();
    if (!fs::exists(own.folder / "cgroup.procs")) {
        // A container may see its own group as the uppermost, and its path from outside.
        const fs::path top = own.version == 1 ? roots.cgroup / "memory" : roots.cgroup;
        if (!has_word(top / "cgroup.procs", std::to_string(pid)))
            throw std::runtime_error("there is no control group " + own.folder.string());
        own.folder = top;
    }
    if (own.version == 2) {
        if (!has_word(own.folder / "cgroup.controllers", "memory"))
            throw std::runtime_error(own.folder.string() + " is not given the memory controller");
        // Who enters a group below must be allowed to leave this one.
        if (::access((own.folder / "cgroup.procs").c_str(), W_OK) != 0)
            throw std::runtime_error(own.folder.string() + " is not ours: " + std::strerror(errno));
        if (!has_word(own.folder / "cgroup.subtree_control", "memory"))
            give_up_own_group(pid, own.folder);
    }
    return {GroupHome::Maker::ourselves, own.version, own.folder};
}

MemoryLimit make_memory_limit(std::int64_t bytes, const OomKillCounter::Roots& roots) {
    std::string no_group;
    try {
        const MemoryLimit limit{bytes, own_group_home(::getpid(), roots)};
        const ControlGroup trial(limit, trial_name());
        return limit;
    } catch (const std::runtime_error& problem) {
        no_group = problem.what();
    }
    try {
        return {bytes, scope_home(bytes)};
    } catch (const std::runtime_error& problem) {
        throw EnvironmentError(
            "memory-limit = " + format_bytes(bytes) +
            ": this machine lets us limit no worker: no control group can be made (" + no_group +
            "), and `systemd-run --user --scope` does not work (" + problem.what() +
            "); leave the key out, and limit the job, the container or the service that isosweep "
            "runs in");
    }
}

fs::path group_folder(const GroupHome& home, const std::string& token) {
    return home.folder /
           ("isosweep-" + token + (home.maker == GroupHome::Maker::systemd ? ".scope" : ""));
}

ControlGroup::ControlGroup(const MemoryLimit& limit, const std::string& token)
    : limit_(limit), folder_(group_folder(limit.home, token)) {
    if (limit_.home.maker == GroupHome::Maker::systemd) {
        unit_ = folder_.filename().string();
        at_limit_before_ = number_behind("oom", events()).value_or(0);
        return;
    }
    if (::mkdir(folder_.c_str(), 0755) != 0) {
        ended_ = true;
        throw std::runtime_error("cannot make the control group " + folder_.string() + ": " +
                                 std::strerror(errno));
    }
    const std::string bytes = std::to_string(limit_.bytes);
    if (limit_.home.version == 1) {
        make("memory.limit_in_bytes", bytes, true);
        // Of memory and swap together; the kernel may be told to count no swap.
        make("memory.memsw.limit_in_bytes", bytes, false);
    } else {
        make("memory.max", bytes, true);
        make("memory.swap.max", "0", false);
        die_together();
    }
    entry_ = FileDescriptor(::open((folder_ / "cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!entry_) make("cgroup.procs", "", true);
}

void ControlGroup::make(const std::string& file, const std::string& value, bool is_needed) {
    const int problem = write_value(folder_ / file, value);
    if (problem == 0 || (!is_needed && problem == ENOENT)) return;
    end();
    throw std::runtime_error("cannot make the control group " + folder_.string() + ": " + file +
                             ": " + std::strerror(problem));
}

std::vector<std::string> ControlGroup::launcher() const {
    return unit_.empty() ? std::vector<std::string>() : systemd_run(limit_.bytes, unit_);
}

void ControlGroup::die_together() const {
    // Version 1 and old kernels kill the largest process alone.
    if (limit_.home.version == 2) write_value(folder_ / "memory.oom.group", "1");
}

fs::path ControlGroup::events() const {
    // systemd removes a scope as soon as it is empty, and its counts with it. They are also in
    // those of the group above.
    return (unit_.empty() ? folder_ : folder_.parent_path()) / "memory.events";
}

OomKillCounter ControlGroup::oom_kills() const {
    return OomKillCounter::in_file(limit_.home.version == 1 ? folder_ / "memory.oom_control"
                                                            : events());
}

bool ControlGroup::was_at_limit() const {
    if (limit_.home.version == 2)
        return number_behind("oom", events()).value_or(0) > at_limit_before_;
    // The counts of failures stay 0 on some kernels; the maximum falls short of the limit by what
    // is charged at a time.
    constexpr std::int64_t huge_pages = 4 << 20;
    for (const std::string& word : words_of(folder_ / "memory.max_usage_in_bytes"))
        return std::strtoll(word.c_str(), nullptr, 10) >= limit_.bytes - huge_pages;
    return false;
}

bool ControlGroup::end() {
    if (ended_) return true;
    entry_ = {};
    if (unit_.empty()) {
        ended_ = remove_group(folder_);
        return ended_;
    }
    // The folder is systemd's to remove.
    if (fs::exists(folder_)) kill_all_in(folder_);
    ended_ = true;
    return true;
}

void end_leftover_group(const fs::path& folder, const std::string& token,
                        const OomKillCounter::Roots& roots) {
    const std::string name = folder.filename().string();
    if (token.size() != 32 ||
        (name != "isosweep-" + token && name != "isosweep-" + token + ".scope"))
        return;
    const fs::path below = folder.lexically_normal().lexically_relative(roots.cgroup);
    if (below.empty() || *below.begin() == ".." || !fs::exists(folder / "cgroup.procs")) return;
    if (name.ends_with(".scope"))
        kill_all_in(folder);
    else
        remove_group(folder);
}

}  // namespace isosweep
