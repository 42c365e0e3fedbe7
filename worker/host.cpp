#include "host.h"

#include <isosweep/text.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace isosweep::host {
namespace {

/// The rest of the first line of `path` that starts with `label`, behind its colon.
std::optional<std::string> value_in(const char* path, std::string_view label) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(label))
            if (const auto colon = line.find(':'); colon != std::string::npos)
                return std::string(trim(std::string_view(line).substr(colon + 1)));
    return std::nullopt;
}

}  // namespace

std::string cpu_name() { return value_in("/proc/cpuinfo", "model name").value_or("CPU"); }

std::optional<std::int64_t> peak_resident_bytes() {
    const auto value = value_in("/proc/self/status", "VmHWM");  // "123456 kB"
    if (!value) return std::nullopt;
    std::int64_t kibibytes = 0;
    if (!(std::istringstream(*value) >> kibibytes)) return std::nullopt;
    return kibibytes * 1024;
}

void reset_peak_resident() {
    std::ofstream("/proc/self/clear_refs") << 5 << std::flush;  // proc(5): resets VmHWM
}

std::optional<double> process_age_ms() {
    std::ifstream file("/proc/self/stat");
    std::string line;
    timespec now{};
    if (!std::getline(file, line) || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return std::nullopt;
    // The second field is the program's name, which may hold blanks and ')'; starttime is the 22nd.
    std::istringstream fields(line.substr(line.rfind(')') + 1));
    std::string skipped;
    for (int i = 3; i < 22; ++i) fields >> skipped;
    double ticks = 0;
    if (!(fields >> ticks)) return std::nullopt;
    const double age_s = static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 -
                         ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
    return std::max(age_s * 1e3, 0.0);
}

std::int64_t cpu_count() {
    cpu_set_t cpus;
    return ::sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus)
                                                           : ::sysconf(_SC_NPROCESSORS_ONLN);
}

std::int64_t machine_cpu_count() { return ::sysconf(_SC_NPROCESSORS_ONLN); }

std::optional<double> load_average() {
    double load = 0;
    return ::getloadavg(&load, 1) == 1 ? std::optional(load) : std::nullopt;
}

std::string allocator_settings() {
    for (const char* name : {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"})
        if (const char* settings = std::getenv(name)) return settings;
    return {};
}

bool is_launch_blocking() {
    const char* const setting = std::getenv("CUDA_LAUNCH_BLOCKING");
    return setting && std::string_view(setting) != "0" && *setting != '\0';
}

}  // namespace isosweep::host
