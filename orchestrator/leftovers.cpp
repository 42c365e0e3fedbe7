#include "orchestrator/leftovers.h"

#include <isosweep/text.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "orchestrator/files.h"
#include "orchestrator/process.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

std::string contents(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

/// The token in a process' environment; empty where there is none or it may not be read.
std::string token_of(const fs::path& process) {
    static const std::string name = "ISOSWEEP_WORKER_TOKEN=";
    const std::string environment = contents(process / "environ");
    // Each variable ends with '\0'.
    std::size_t at =
        environment.starts_with(name) ? 0 : environment.find(std::string(1, '\0') + name);
    if (at == std::string::npos) return {};
    if (environment[at] == '\0') ++at;
    at += name.size();
    return environment.substr(at, environment.find('\0', at) - at);
}

bool is_leftover(pid_t pid, const fs::path& process, const Journal& journal) {
    if (const WorkerRecord* const worker = journal.worker(token_of(process)))
        return worker->origin.empty();
    const WorkerRecord* const worker = journal.worker_with(pid);
    return worker && !worker->boot.empty() && worker->boot == boot_id() &&
           worker->start_time != 0 && worker->start_time == process_start_time(pid);
}

void end_leftover_groups(const Journal& journal, const std::optional<MemoryLimit>& limit) {
    for (const auto& [token, worker] : journal.workers())
        if (!worker.group.empty()) end_leftover_group(worker.group, std::string(token));
    if (!limit) return;
    // A start is written before its group is made, the worker's record after.
    for (const auto& [key, history] : journal.cells())
        if (history.open) {
            const std::string token(history.token);
            end_leftover_group(group_folder(limit->home, token), token);
        }
}

}  // namespace

std::vector<Leftover> kill_leftovers(const Journal& journal,
                                     const std::optional<MemoryLimit>& limit) {
    end_leftover_groups(journal, limit);
    std::vector<std::pair<Leftover, FileDescriptor>> found;
    std::error_code problem;
    for (const auto& entry : fs::directory_iterator("/proc", problem)) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        pid_t pid = 0;
        std::from_chars(name.data(), name.data() + name.size(), pid);
        if (pid == ::getpid() || !is_leftover(pid, entry.path(), journal)) continue;
        FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
        // Once the descriptor is open the number cannot come to mean another; so look again.
        if (!process || !is_leftover(pid, entry.path(), journal)) continue;
        if (::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0) != 0) continue;
        found.emplace_back(Leftover{pid, std::string(trim(contents(entry.path() / "comm")))},
                           std::move(process));
    }
    std::vector<Leftover> leftovers;
    for (auto& [leftover, process] : found) {
        constexpr int limit_ms = 5000;  // the driver may take its time to free a GPU's memory
        pollfd gone{process.get(), POLLIN, 0};
        ::poll(&gone, 1, limit_ms);
        leftovers.push_back(std::move(leftover));
    }
    return leftovers;
}

}  // namespace isosweep
