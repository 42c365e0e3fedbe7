#include "orchestrator/machine.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "orchestrator/errors.h"
#include "orchestrator/launcher.h"
#include "orchestrator/process.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// The GPU that "0", "GPU-1b2c..." or the start of a UUID names among `gpus`.
const Gpu* find_gpu(const std::vector<Gpu>& gpus, std::string_view name) {
    for (const Gpu& gpu : gpus)
        if (std::to_string(gpu.index) == name ||
            (name.starts_with("GPU-") && gpu.uuid.starts_with(name)))
            return &gpu;
    return nullptr;
}

}  // namespace

std::vector<Gpu> usable_gpus(const GpuInventory& inventory, const char* visible_devices,
                             const std::vector<std::string>& gpus) {
    std::vector<Gpu> visible;
    if (visible_devices == nullptr) {
        visible = inventory.gpus;
    } else {
        // As the driver reads it: the first name that it does not know ends the list.
        std::string_view rest = visible_devices;
        while (!rest.empty()) {
            const auto comma = rest.find(',');
            const std::string_view name = trim(rest.substr(0, comma));
            const Gpu* const gpu = find_gpu(inventory.gpus, name);
            if (!gpu && !name.starts_with("MIG-")) break;
            visible.push_back(gpu ? *gpu : Gpu{0, std::string(name), "MIG device", 0});
            rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
        }
    }
    if (gpus.empty()) return visible;
    std::vector<Gpu> chosen;
    for (const std::string& name : gpus) {
        const Gpu* const gpu = find_gpu(visible, name);
        if (!gpu) {
            std::string known;
            for (const Gpu& one : visible)
                known +=
                    (known.empty() ? "" : ", ") + std::to_string(one.index) + " (" + one.uuid + ")";
            throw UsageError("gpus = '" + name + "': no such GPU; expected " +
                             (known.empty() ? "all: this machine has none" : "of " + known));
        }
        chosen.push_back(*gpu);
    }
    return chosen;
}

bool uses_gpu(const std::vector<PlannedCell>& plan) {
    return std::any_of(plan.begin(), plan.end(), [](const PlannedCell& planned) {
        return planned.cell.device != Device::cpu;
    });
}

std::string describe_gpus(const std::vector<Gpu>& gpus) {
    std::vector<std::string> kinds;
    for (const Gpu& gpu : gpus) {
        const std::string kind = gpu.name + " (" + format_bytes(gpu.memory_bytes) + ")";
        if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
    }
    return join(kinds, ", ");
}

DeviceChoice choose_device(const std::vector<PlannedCell>& plan, const std::vector<Gpu>& gpus) {
    if (!gpus.empty()) return {Device::cuda, {}};
    const bool asked = std::any_of(plan.begin(), plan.end(), [](const PlannedCell& planned) {
        return planned.cell.device == Device::cuda;
    });
    return {Device::cpu,
            asked ? "device = cuda was asked for, there is no GPU: measured on CPU" : ""};
}

std::optional<std::int64_t> gpu_bytes(const Options& options, const std::vector<Gpu>& gpus) {
    if (options.gpu_memory.bytes > 0) return options.gpu_memory.bytes;
    if (gpus.empty() || !options.launcher.empty()) return std::nullopt;
    const auto smallest = std::min_element(
        gpus.begin(), gpus.end(),
        [](const Gpu& one, const Gpu& other) { return one.memory_bytes < other.memory_bytes; });
    // A part of a GPU (MIG) is known by its name alone.
    return smallest->memory_bytes > 0 ? std::optional(smallest->memory_bytes) : std::nullopt;
}

DeviceChoice choose_device_of_cluster(const std::vector<PlannedCell>& plan,
                                      const std::vector<std::string>& launcher) {
    const bool wants_gpu = asks_for_gpu(launcher) ||
                           std::any_of(plan.begin(), plan.end(), [](const PlannedCell& planned) {
                               return planned.cell.device == Device::cuda;
                           });
    return {wants_gpu ? Device::cuda : Device::cpu, {}};
}

std::vector<Slot> make_slots(const Options& options, Device device, const std::vector<Gpu>& gpus) {
    if (!options.launcher.empty() || device != Device::cuda)
        return std::vector<Slot>(static_cast<std::size_t>(options.jobs));
    std::vector<Slot> slots;
    for (const Gpu& gpu : gpus) slots.push_back({gpu.uuid});
    return slots;
}

std::vector<Slot> place_slots(std::vector<Slot> slots, const Options& options,
                              const std::vector<Gpu>& gpus) {
    if (slots.size() < 2 || !options.launcher.empty() || options.cpu_affinity == CpuAffinity::off)
        return slots;
    std::vector<Locality> localities;
    for (const Slot& slot : slots) {
        const auto gpu = std::find_if(gpus.begin(), gpus.end(),
                                      [&](const Gpu& one) { return one.uuid == slot.gpu_uuid; });
        localities.push_back(gpu == gpus.end() ? Locality{} : locality_of(gpu->pci_address));
        std::optional<int>& node = localities.back().memory_node;
        if (node && !may_prefer_memory_of(*node)) node.reset();
    }
    const std::vector<Placement> placements = share_cores(cores_of(affinity_of(0)), localities);
    for (std::size_t slot = 0; slot < slots.size(); ++slot)
        slots[slot].placement = placements[slot];
    return slots;
}

std::vector<std::string> worker_argv(const Options& options) {
    fs::path worker = options.worker;
    if (worker.empty()) {
        std::error_code problem;
        worker = fs::read_symlink("/proc/self/exe", problem).parent_path() / "isosweep-worker";
        if (::access(worker.c_str(), X_OK) != 0)
            throw EnvironmentError(
                "there is no worker " + worker.string() +
                ": build it with `make build`, or name one with worker = PROGRAM");
    } else {
        if (!worker.has_parent_path()) worker = fs::path(".") / worker;  // not a program in PATH
        if (::access(worker.c_str(), X_OK) != 0 || fs::is_directory(worker))
            throw EnvironmentError("worker = '" + worker.string() +
                                   "': expected a program that can be run; is the path right?");
    }
    if (!options.launcher.empty() && find_program(options.launcher[0]).empty())
        throw EnvironmentError("launcher = '" + options.launcher[0] + "': no such program in PATH");
    std::vector<std::string> argv = options.launcher;
    argv.push_back(worker.string());
    argv.emplace_back("--serve");
    return argv;
}

}  // namespace isosweep
