#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Where on the machine workers run: each slot's on CPUs of their own, beside the slot's GPU.
namespace isosweep {

/// CPUs of the machine by number, rising.
using CpuList = std::vector<int>;

/// "0-3,8" as the kernel writes such lists.
std::string to_text(const CpuList& cpus);
/// The reverse; what is no such list yields no CPUs.
CpuList parse_cpu_list(std::string_view text);

/// Where a process shall run.
struct Placement {
    CpuList cpus;                    ///< on these alone; empty: where this program may
    std::optional<int> memory_node;  ///< takes memory from here as long as there is some
    int threads = 0;                 ///< its share of the cores; 0: it has them all
};

/// What of the machine is beside a device.
struct Locality {
    CpuList cpus;  ///< empty: not known
    std::optional<int> memory_node;
};

/// The kernel's view of the machine.
inline constexpr const char* sysfs = "/sys";

/// What is beside the PCI device with this address ("0000:3b:00.0"), as far as the kernel tells.
Locality locality_of(const std::string& pci_address, const std::filesystem::path& root = sysfs);

/// The CPUs that a process (0: this one) may run on; empty where it is gone.
CpuList affinity_of(pid_t pid);

/// `cpus` by the cores that they are threads of.
std::vector<CpuList> cores_of(const CpuList& cpus, const std::filesystem::path& root = sysfs);

/// Shares cores between slots, one for each locality. Slots with the same neighbourhood get equal
/// numbers of its cores, so that a cell finds the same in each; a remainder is left to others.
/// Where a neighbourhood is not known, or none of its cores is ours, all slots share all cores
/// alike. Where there are more slots than cores, none is kept to some, and each has one thread. A
/// pure function.
std::vector<Placement> share_cores(const std::vector<CpuList>& cores,
                                   const std::vector<Locality>& slots);

/// Whether a process that we start may be told to take its memory from a node: the kernel lets us
/// (containers may not), and nobody has chosen otherwise for this program (numactl).
bool may_prefer_memory_of(int node);

/// Lets the calling process take its memory from a node as long as there is some, and what it
/// starts likewise. Async-signal-safe. \returns whether the kernel lets it
bool prefer_memory_of(int node);

/// Keeps the calling process to some CPUs, and what it starts likewise. Async-signal-safe.
/// \returns whether the kernel lets it
bool run_on(const CpuList& cpus);

}  // namespace isosweep
