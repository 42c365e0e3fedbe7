#include "orchestrator/placement.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <map>
#include <set>

namespace isosweep {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t word_bits = 8 * sizeof(unsigned long);

/// Bits as the kernel takes them: more CPUs than any kernel is built for (8192), and as many nodes.
using Mask = std::array<unsigned long, 8192 / word_bits>;

void set_bit(Mask& mask, int number) {
    const auto bit = static_cast<std::size_t>(number);
    if (bit / word_bits < mask.size()) mask[bit / word_bits] |= 1UL << (bit % word_bits);
}

std::string first_line(const fs::path& file) {
    std::string line;
    std::ifstream stream(file);
    std::getline(stream, line);
    return line;
}

std::optional<int> number_in(std::string_view text) {
    int number = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc() || end != text.data() + text.size() || number < 0)
        return std::nullopt;
    return number;
}

bool holds(const CpuList& cpus, int cpu) {
    return std::binary_search(cpus.begin(), cpus.end(), cpu);
}

// <linux/mempolicy.h>, which libnuma's header would bring
constexpr int policy_default = 0;
constexpr int policy_preferred = 1;

bool set_memory_policy(int policy, const Mask* nodes) {
    // The kernel takes one bit less than it is told of.
    return ::syscall(SYS_set_mempolicy, policy, nodes, nodes ? nodes->size() * word_bits + 1 : 0) ==
           0;
}

}  // namespace

std::string to_text(const CpuList& cpus) {
    std::string text;
    for (std::size_t first = 0, last = 0; first < cpus.size(); first = last + 1) {
        last = first;
        while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
        text += (text.empty() ? "" : ",") + std::to_string(cpus[first]);
        if (last > first) text += "-" + std::to_string(cpus[last]);
    }
    return text;
}

CpuList parse_cpu_list(std::string_view text) {
    CpuList cpus;
    while (!text.empty()) {
        const std::string_view part = text.substr(0, text.find(','));
        text.remove_prefix(std::min(part.size() + 1, text.size()));
        const auto dash = part.find('-');
        const auto first = number_in(part.substr(0, dash));
        const auto last = dash == part.npos ? first : number_in(part.substr(dash + 1));
        if (!first || !last) return {};
        for (int cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
    }
    return cpus;
}

Locality locality_of(const std::string& pci_address, const fs::path& root) {
    if (pci_address.empty()) return {};
    const fs::path device = root / "bus/pci/devices" / pci_address;
    // The node is -1 where the firmware tells none.
    return {parse_cpu_list(first_line(device / "local_cpulist")),
            number_in(first_line(device / "numa_node"))};
}

CpuList affinity_of(pid_t pid) {
    Mask mask{};
    CpuList cpus;
    if (::syscall(SYS_sched_getaffinity, pid, sizeof mask, mask.data()) < 0) return cpus;
    for (std::size_t bit = 0; bit < mask.size() * word_bits; ++bit)
        if (mask[bit / word_bits] >> (bit % word_bits) & 1U) cpus.push_back(static_cast<int>(bit));
    return cpus;
}

std::vector<CpuList> cores_of(const CpuList& cpus, const fs::path& root) {
    std::vector<CpuList> cores;
    std::set<int> done;
    for (const int cpu : cpus) {
        if (done.contains(cpu)) continue;
        CpuList core =
            parse_cpu_list(first_line(root / "devices/system/cpu" / ("cpu" + std::to_string(cpu)) /
                                      "topology/thread_siblings_list"));
        std::erase_if(core, [&](int sibling) { return !holds(cpus, sibling); });
        if (!holds(core, cpu)) core = {cpu};
        done.insert(core.begin(), core.end());
        cores.push_back(std::move(core));
    }
    return cores;
}

std::vector<Placement> share_cores(const std::vector<CpuList>& cores,
                                   const std::vector<Locality>& slots) {
    const auto cores_beside = [&](const CpuList& cpus) {
        std::vector<CpuList> beside;
        for (const CpuList& core : cores)
            if (holds(cpus, core.front())) beside.push_back(core);
        return beside;
    };
    const bool all_known = std::all_of(slots.begin(), slots.end(), [&](const Locality& slot) {
        return !cores_beside(slot.cpus).empty();
    });
    std::map<CpuList, std::vector<std::size_t>> neighbourhoods;
    for (std::size_t slot = 0; slot < slots.size(); ++slot)
        neighbourhoods[all_known ? slots[slot].cpus : CpuList{}].push_back(slot);

    std::vector<Placement> placements(slots.size());
    for (const auto& [cpus, neighbours] : neighbourhoods) {
        const std::vector<CpuList> beside = all_known ? cores_beside(cpus) : cores;
        const std::size_t share = beside.size() / neighbours.size();
        for (std::size_t nth = 0; nth < neighbours.size(); ++nth) {
            Placement& placement = placements[neighbours[nth]];
            if (all_known) placement.memory_node = slots[neighbours[nth]].memory_node;
            placement.threads = static_cast<int>(std::max<std::size_t>(share, 1));
            for (std::size_t core = nth * share; core < (nth + 1) * share; ++core)
                placement.cpus.insert(placement.cpus.end(), beside[core].begin(),
                                      beside[core].end());
            std::sort(placement.cpus.begin(), placement.cpus.end());
        }
    }
    return placements;
}

bool may_prefer_memory_of(int node) {
    int policy = policy_default;
    return ::syscall(SYS_get_mempolicy, &policy, nullptr, 0, nullptr, 0) == 0 &&
           policy == policy_default && prefer_memory_of(node) &&
           set_memory_policy(policy_default, nullptr);
}

bool prefer_memory_of(int node) {
    Mask nodes{};
    set_bit(nodes, node);
    return set_memory_policy(policy_preferred, &nodes);
}

bool run_on(const CpuList& cpus) {
    Mask mask{};
    for (const int cpu : cpus) set_bit(mask, cpu);
    return ::syscall(SYS_sched_setaffinity, 0, sizeof mask, mask.data()) == 0;
}

}  // namespace isosweep
