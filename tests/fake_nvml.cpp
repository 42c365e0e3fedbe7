// A stand-in for libnvidia-ml.so.1 with one GPU, "GPU-fake-0". Environment variables say how it is:
// FAKE_NVML_REASONS its clock event reasons (hexadecimal), FAKE_NVML_PIDS who computes on it (a
// blank-separated list). With FAKE_NVML_OLD defined it is one that knows little.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace {

using Handle = void*;
constexpr int success = 0;
constexpr int not_found = 6;
int gpu = 0;    // its address is the handle
int calls = 0;  // of the SM clock, which alternates

const char* variable(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
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
    *count = 1;
    return success;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned, Handle* device) {
    *device = &gpu;
    return success;
}
int nvmlDeviceGetHandleByUUID(const char* uuid, Handle* device) {
    if (std::strcmp(uuid, "GPU-fake-0") != 0) return not_found;
    *device = &gpu;
    return success;
}
int nvmlDeviceGetUUID(Handle, char* text, unsigned size) {
    std::snprintf(text, size, "GPU-fake-0");
    return success;
}
int nvmlDeviceGetName(Handle, char* text, unsigned size) {
    std::snprintf(text, size, "Fake GPU");
    return success;
}
int nvmlDeviceGetMemoryInfo(Handle, unsigned long long* total_free_used) {
    total_free_used[0] = 8ULL << 30U;
    return success;
}
int nvmlDeviceGetClockInfo(Handle, unsigned type, unsigned* mhz) {
    *mhz = type == 2 ? 2619 : ++calls % 2 == 1 ? 1980 : 1000;
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
int nvmlDeviceGetTemperature(Handle, unsigned, unsigned* celsius) {
    *celsius = 61;
    return success;
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
