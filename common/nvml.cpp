#include <dlfcn.h>
#include <isosweep/nvml.h>

#include <array>
#include <memory>

// NVML's header comes with a CUDA toolkit, which a machine that runs sweeps need not have: what is
// used of it is declared here by signature. Its names and values are a stable ABI.

namespace isosweep {
namespace {

using Device = void*;
struct Memory {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
};

/// The library, loaded for as long as this object lives.
class Library {
  public:
    Library() : handle_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL), &close) {}

    template <class Function>
    Function* find(const char* name) const {
        return handle_ ? reinterpret_cast<Function*>(::dlsym(handle_.get(), name)) : nullptr;
    }

  private:
    static void close(void* handle) { ::dlclose(handle); }
    std::unique_ptr<void, void (*)(void*)> handle_;
};

}  // namespace

GpuInventory query_gpus() {
    const Library nvml;
    const auto init = nvml.find<int()>("nvmlInit_v2");
    const auto shutdown = nvml.find<int()>("nvmlShutdown");
    const auto driver_version = nvml.find<int(char*, unsigned)>("nvmlSystemGetDriverVersion");
    const auto device_count = nvml.find<int(unsigned*)>("nvmlDeviceGetCount_v2");
    const auto device_handle = nvml.find<int(unsigned, Device*)>("nvmlDeviceGetHandleByIndex_v2");
    const auto device_uuid = nvml.find<int(Device, char*, unsigned)>("nvmlDeviceGetUUID");
    const auto device_name = nvml.find<int(Device, char*, unsigned)>("nvmlDeviceGetName");
    const auto device_memory = nvml.find<int(Device, Memory*)>("nvmlDeviceGetMemoryInfo");
    if (!init || !shutdown || !driver_version || !device_count || !device_handle || !device_uuid ||
        !device_name || !device_memory || init() != 0)
        return {};

    GpuInventory inventory;
    std::array<char, 96> text{};
    if (driver_version(text.data(), text.size()) == 0) inventory.driver = text.data();
    unsigned count = 0;
    if (device_count(&count) != 0) count = 0;
    for (unsigned index = 0; index < count; ++index) {
        Device device = nullptr;
        if (device_handle(index, &device) != 0) continue;
        Gpu gpu;
        gpu.index = static_cast<int>(index);
        if (device_uuid(device, text.data(), text.size()) == 0) gpu.uuid = text.data();
        if (device_name(device, text.data(), text.size()) == 0) gpu.name = text.data();
        Memory memory{};
        if (device_memory(device, &memory) == 0)
            gpu.memory_bytes = static_cast<std::int64_t>(memory.total);
        inventory.gpus.push_back(std::move(gpu));
    }
    shutdown();
    return inventory;
}

}  // namespace isosweep
