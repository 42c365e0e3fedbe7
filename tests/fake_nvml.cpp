// A stand-in for libnvidia-ml.so.1 with FAKE_NVML_COUNT GPUs, else one: "GPU-fake-0" and so on.
// Environment variables say how they are: FAKE_NVML_REASONS their clock event reasons
// (hexadecimal), FAKE_NVML_NAME their name, FAKE_NVML_MIB their memory, FAKE_NVML_PIDS who
// computes on them (a blank-separated list), FAKE_NVML_STATE a file with the first one's used MiB,
// temperature, uncorrected ECC errors and an Xid that just happened, or none. With FAKE_NVML_OLD
// defined it is one that knows little.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace {

using Handle = void*;
constexpr int success = 0;
constexpr int not_found = 6;
constexpr int timed_out = 10;
constexpr int is_lost = 15;
constexpr int max_gpus = 8;
int gpus[max_gpus];  // the address of one is its handle
int calls = 0;       // of the SM clock, which alternates

const char* variable(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
}

struct State {
    unsigned long long used_mib = 0;
    unsigned temperature = 61;
    unsigned long long errors = 0;
    unsigned long long xid = 0;
    bool lost = false;
};

State state_of(Handle device) {
    State state;
    if (device != &gpus[0]) return state;
    std::ifstream file(variable("FAKE_NVML_STATE"));
    std::string word;
    if (file >> word) {
        state.lost = word == "lost";
        if (!state.lost) state.used_mib = std::strtoull(word.c_str(), nullptr, 10);
        file >> state.temperature >> state.errors >> state.xid;
    }
    return state;
}

int reasons(unsigned long long* value) {
    *value = std::strtoull(variable("FAKE_NVML_REASONS"), nullptr, 16);
    return success;
}

}  // namespace

// The names and signatures are NVML's.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" {

int nvmlInit_v2() { return success; }
int nvmlShutdown() { return success; }
int nvmlSystemGetDriverVersion(char* text, unsigned size) {
    std::snprintf(text, size, "999.1");
    return success;
}
int nvmlDeviceGetCount_v2(unsigned* count) {
    const long wanted = std::strtol(variable("FAKE_NVML_COUNT"), nullptr, 10);
    *count = static_cast<unsigned>(wanted > 0 && wanted <= max_gpus ? wanted : 1);
    return success;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle* device) {
    *device = &gpus[index];
    return success;
}
int nvmlDeviceGetHandleByUUID(const char* uuid, Handle* device) {
    constexpr std::string_view prefix = "GPU-fake-";
    if (!std::string_view(uuid).starts_with(prefix)) return not_found;
    const long index = std::strtol(uuid + prefix.size(), nullptr, 10);
    if (index < 0 || index >= max_gpus) return not_found;
    *device = &gpus[index];
    return success;
}
int nvmlDeviceGetUUID(Handle device, char* text, unsigned size) {
    std::snprintf(text, size, "GPU-fake-%d", static_cast<int>(static_cast<int*>(device) - gpus));
    return success;
}
int nvmlDeviceGetName(Handle, char* text, unsigned size) {
    const char* const name = variable("FAKE_NVML_NAME");
    std::snprintf(text, size, "%s", *name ? name : "Fake GPU");
    return success;
}
int nvmlDeviceGetMemoryInfo(Handle device, unsigned long long* total_free_used) {
    const State state = state_of(device);
    const unsigned long long mib = std::strtoull(variable("FAKE_NVML_MIB"), nullptr, 10);
    total_free_used[0] = mib > 0 ? mib << 20U : 8ULL << 30U;
    total_free_used[2] = state.used_mib << 20U;
    total_free_used[1] = total_free_used[0] - total_free_used[2];
    return state.lost ? is_lost : success;
}
int nvmlDeviceGetClockInfo(Handle, unsigned type, unsigned* mhz) {
    *mhz = type == 2 ? 2619 : ++calls % 2 == 1 ? 1980 : 1000;
    return success;
}

struct FakePciInfo {
    char legacy_bus_id[16];
    unsigned domain, bus, device, ids[2];
    char bus_id[32];
};
int nvmlDeviceGetPciInfo_v3(Handle device, FakePciInfo* info) {
    info->domain = 0;
    info->bus = 0xf0U + static_cast<unsigned>(static_cast<int*>(device) - gpus);
    info->device = 0x1f;
    return success;
}

#ifdef FAKE_NVML_OLD

int nvmlDeviceGetCurrentClocksThrottleReasons(Handle, unsigned long long* value) {
    return reasons(value);
}

#else

int nvmlDeviceGetCurrentClocksEventReasons(Handle, unsigned long long* value) {
    return reasons(value);
}
int nvmlDeviceGetMaxClockInfo(Handle, unsigned, unsigned* mhz) {
    *mhz = 1980;
    return success;
}
int nvmlDeviceGetPowerUsage(Handle, unsigned* milliwatts) {
    *milliwatts = 650'500;
    return success;
}
int nvmlDeviceGetEnforcedPowerLimit(Handle, unsigned* milliwatts) {
    *milliwatts = 700'000;
    return success;
}
int nvmlDeviceGetTemperature(Handle device, unsigned, unsigned* celsius) {
    *celsius = state_of(device).temperature;
    return success;
}
int nvmlDeviceGetTemperatureThreshold(Handle, unsigned, unsigned* celsius) {
    *celsius = 90;
    return success;
}
int nvmlDeviceGetTotalEccErrors(Handle device, unsigned, unsigned, unsigned long long* errors) {
    *errors = state_of(device).errors;
    return success;
}
int nvmlEventSetCreate(Handle** set) {
    *set = new Handle(nullptr);
    return success;
}
int nvmlEventSetFree(Handle* set) {
    delete set;
    return success;
}
int nvmlDeviceRegisterEvents(Handle device, unsigned long long, Handle* set) {
    *set = device;
    return success;
}
struct FakeEvent {
    Handle device;
    unsigned long long type;
    unsigned long long data;
    unsigned instances[2];
};
int nvmlEventSetWait_v2(Handle* set, FakeEvent* event, unsigned) {
    static unsigned long long told = 0;
    const unsigned long long xid = state_of(*set).xid;
    if (xid == told) return timed_out;  // each is told once
    told = xid;
    *event = {*set, 8, xid, {}};
    return xid == 0 ? timed_out : success;
}
int nvmlDeviceGetTotalEnergyConsumption(Handle, unsigned long long* millijoules) {
    *millijoules = 12'500;
    return success;
}
struct FakeProcess {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance;
    unsigned compute_instance;
};
int nvmlDeviceGetComputeRunningProcesses_v3(Handle, unsigned* count, FakeProcess* processes) {
    std::istringstream pids(variable("FAKE_NVML_PIDS"));
    *count = 0;
    for (unsigned pid = 0; pids >> pid; ++*count) processes[*count] = {pid, 0, 0, 0};
    return success;
}

#endif

}  // extern "C"
// NOLINTEND(readability-identifier-naming)
