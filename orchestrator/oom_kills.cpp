#include "orchestrator/oom_kills.h"

#include <fstream>
#include <string_view>

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// The number behind "oom_kill" in a file of names and numbers.
std::optional<std::int64_t> oom_kills_in(const fs::path& file) {
    std::ifstream lines(file);
    std::string name;
    std::int64_t number = 0;
    while (lines >> name >> number)
        if (name == "oom_kill") return number;
    return std::nullopt;
}

bool has_controller(std::string_view list, std::string_view wanted) {
    while (!list.empty()) {
        const auto comma = list.find(',');
        if (list.substr(0, comma) == wanted) return true;
        list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    }
    return false;
}

}  // namespace

OomKillCounter::OomKillCounter(pid_t pid, const Roots& roots) {
    // Lines "ID:CONTROLLERS:PATH"; version 2 has no controllers there (cgroups(7)).
    std::ifstream groups(roots.proc / std::to_string(pid) / "cgroup");
    for (std::string line; std::getline(groups, line);) {
        const auto first = line.find(':');
        const auto second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string_view controllers =
            std::string_view(line).substr(first + 1, second - first - 1);
        const fs::path path = fs::path(line.substr(second + 1)).relative_path();
        const fs::path file = controllers.empty()
                                  ? roots.cgroup / path / "memory.events"
                                  : roots.cgroup / "memory" / path / "memory.oom_control";
        if (!controllers.empty() && !has_controller(controllers, "memory")) continue;
        if (oom_kills_in(file)) {
            file_ = file;
            return;
        }
    }
    if (oom_kills_in(roots.proc / "vmstat")) file_ = roots.proc / "vmstat";
}

std::optional<std::int64_t> OomKillCounter::read() const {
    return file_.empty() ? std::nullopt : oom_kills_in(file_);
}

}  // namespace isosweep
