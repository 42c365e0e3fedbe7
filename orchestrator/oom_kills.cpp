#include "orchestrator/oom_kills.h"

#include <fstream>
#include <string_view>

namespace isosweep {
namespace fs = std::filesystem;
namespace {

bool has_controller(std::string_view list, std::string_view wanted) {
    while (!list.empty()) {
        const auto comma = list.find(',');
        if (list.substr(0, comma) == wanted) return true;
        list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    }
    return false;
}

}  // namespace

std::optional<std::int64_t> number_behind(const std::string& wanted, const fs::path& file) {
    std::ifstream lines(file);
    std::string name;
    std::int64_t number = 0;
    while (lines >> name >> number)
        if (name == wanted) return number;
    return std::nullopt;
}

std::vector<MemoryGroup> memory_groups(pid_t pid, const OomKillCounter::Roots& roots) {
    std::vector<MemoryGroup> groups;
    // Lines "ID:CONTROLLERS:PATH"; version 2 has no controllers there (cgroups(7)).
    std::ifstream lines(roots.proc / std::to_string(pid) / "cgroup");
    for (std::string line; std::getline(lines, line);) {
        const auto first = line.find(':');
        const auto second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string_view controllers =
            std::string_view(line).substr(first + 1, second - first - 1);
        const fs::path path = fs::path(line.substr(second + 1)).relative_path();
        if (controllers.empty())
            groups.push_back({2, roots.cgroup / path});
        else if (has_controller(controllers, "memory"))
            groups.insert(groups.begin(), {1, roots.cgroup / "memory" / path});
    }
    return groups;
}

OomKillCounter::OomKillCounter(pid_t pid, const Roots& roots) {
    for (const MemoryGroup& group : memory_groups(pid, roots)) {
        const fs::path file =
            group.folder / (group.version == 2 ? "memory.events" : "memory.oom_control");
        if (number_behind("oom_kill", file)) {
            file_ = file;
            return;
        }
    }
    if (number_behind("oom_kill", roots.proc / "vmstat")) file_ = roots.proc / "vmstat";
}

OomKillCounter OomKillCounter::in_file(const fs::path& file) {
    OomKillCounter counter;
    counter.file_ = file;
    return counter;
}

std::optional<std::int64_t> OomKillCounter::read() const {
    return file_.empty() ? std::nullopt : number_behind("oom_kill", file_);
}

}  // namespace isosweep
