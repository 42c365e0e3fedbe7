#include <dlfcn.h>
#include <isosweep/nvml.h>
#include <isosweep/text.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

// NVML's header comes with a CUDA toolkit, which a machine that runs sweeps need not have: what is
// used of it is declared here, a function's signature by the arguments of its call. Its names and
// values are a stable ABI.

namespace isosweep {
namespace {

using Handle = void*;  // of a device
struct Memory {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
};
struct ProcessInfo {
    unsigned pid;
    unsigned long long used_memory;
    unsigned gpu_instance;
    unsigned compute_instance;
};
struct PciInfo {
    char legacy_bus_id[16];
    unsigned domain;
    unsigned bus;
    unsigned device;
    unsigned device_id;
    unsigned subsystem_id;
    char bus_id[32];
};
constexpr unsigned clock_sm = 1;
constexpr unsigned clock_memory = 2;
constexpr unsigned temperature_gpu = 0;
constexpr unsigned threshold_slowdown = 1;
constexpr unsigned error_uncorrected = 1;
constexpr unsigned counter_volatile = 0;
struct EventData {
    Handle device;
    unsigned long long type;
    unsigned long long data;  // of a critical Xid its number
    unsigned gpu_instance;
    unsigned compute_instance;
};
constexpr unsigned long long event_xid = 0x8;

/// Clock event reasons, by bit.
constexpr std::pair<std::uint64_t, const char*> reason_names[] = {
    {0x1, "idle"},        {0x2, "app_clocks"},      {0x4, "sw_power_cap"},
    {0x8, "hw_slowdown"}, {0x10, "sync_boost"},     {0x20, "sw_thermal"},
    {0x40, "hw_thermal"}, {0x80, "hw_power_brake"}, {0x100, "display_clocks"},
};
constexpr std::uint64_t throttle_reasons = 0x8 | 0x20 | 0x40 | 0x80;
constexpr std::uint64_t power_cap_reason = 0x4;

/// The library, loaded and initialised for as long as this object lives.
class Library {
  public:
    explicit Library(const char* file)
        : handle_(::dlopen(file, RTLD_NOW | RTLD_LOCAL), &close), works_(call("nvmlInit_v2")) {}
    ~Library() {
        if (works_) call("nvmlShutdown");
    }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    bool works() const { return works_; }

    /// Calls the function of this name. \returns whether there is one and it succeeded
    template <class... Arguments>
    bool call(const char* name, Arguments... arguments) const {
        if (!handle_) return false;
        const auto function = reinterpret_cast<int (*)(Arguments...)>(::dlsym(handle_.get(), name));
        return function && function(arguments...) == 0;
    }

    /// The number that such a function yields through its last argument, times `unit`.
    template <class Number, class... Arguments>
    std::optional<double> number(double unit, const char* name, Arguments... arguments) const {
        Number value = 0;
        if (!call(name, arguments..., &value)) return std::nullopt;
        return static_cast<double>(value) * unit;
    }

  private:
    static void close(void* handle) { ::dlclose(handle); }
    std::unique_ptr<void, void (*)(void*)> handle_;
    bool works_;
};

/// The device with this whole UUID; nullptr where it is not to be found.
Handle find_device(const Library& nvml, const std::string& uuid) {
    Handle device = nullptr;
    const bool found = nvml.works() && uuid.starts_with("GPU-") &&
                       nvml.call("nvmlDeviceGetHandleByUUID", uuid.c_str(), &device);
    return found ? device : nullptr;
}

/// Processes on a device as this function lists them; absent where it cannot.
std::optional<std::vector<unsigned>> processes(const Library& nvml, const char* function,
                                               Handle device) {
    std::vector<ProcessInfo> infos(1024);
    auto count = static_cast<unsigned>(infos.size());
    if (!nvml.call(function, device, &count, infos.data())) return std::nullopt;
    std::vector<unsigned> pids;
    for (unsigned i = 0; i < count; ++i) pids.push_back(infos[i].pid);
    return pids;
}
constexpr const char* compute_processes = "nvmlDeviceGetComputeRunningProcesses_v3";
constexpr const char* graphics_processes = "nvmlDeviceGetGraphicsRunningProcesses_v3";

/// Mean and extremes of a figure over the samples in which there was one.
class Series {
  public:
    void add(std::optional<double> value) {
        if (!value) return;
        min_ = count_ == 0 ? *value : std::min(min_, *value);
        max_ = count_ == 0 ? *value : std::max(max_, *value);
        sum_ += *value;
        ++count_;
    }
    std::optional<double> mean() const { return if_any(sum_ / std::max(count_, 1)); }
    std::optional<double> min() const { return if_any(min_); }
    std::optional<double> max() const { return if_any(max_); }

  private:
    std::optional<double> if_any(double value) const {
        return count_ > 0 ? std::optional(value) : std::nullopt;
    }
    double sum_ = 0;
    double min_ = 0;
    double max_ = 0;
    int count_ = 0;
};

}  // namespace

GpuInventory query_gpus(const char* library) {
    const Library nvml(library);
    if (!nvml.works()) return {};
    GpuInventory inventory;
    std::array<char, 96> text{};
    const auto size = static_cast<unsigned>(text.size());
    if (nvml.call("nvmlSystemGetDriverVersion", text.data(), size)) inventory.driver = text.data();
    unsigned count = 0;
    if (!nvml.call("nvmlDeviceGetCount_v2", &count)) count = 0;
    for (unsigned index = 0; index < count; ++index) {
        Handle device = nullptr;
        if (!nvml.call("nvmlDeviceGetHandleByIndex_v2", index, &device)) continue;
        Gpu gpu;
        gpu.index = static_cast<int>(index);
        if (nvml.call("nvmlDeviceGetUUID", device, text.data(), size)) gpu.uuid = text.data();
        if (nvml.call("nvmlDeviceGetName", device, text.data(), size)) gpu.name = text.data();
        Memory memory{};
        if (nvml.call("nvmlDeviceGetMemoryInfo", device, &memory))
            gpu.memory_bytes = static_cast<std::int64_t>(memory.total);
        PciInfo pci{};
        if (nvml.call("nvmlDeviceGetPciInfo_v3", device, &pci)) {
            // A GPU is its device's function 0.
            std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.0", pci.domain, pci.bus,
                          pci.device);
            gpu.pci_address = text.data();
        }
        inventory.gpus.push_back(std::move(gpu));
    }
    return inventory;
}

std::string GpuActivity::reasons_text() const {
    std::vector<std::string> names;
    for (const auto& [bit, name] : reason_names)
        if (reasons.value_or(0) & bit) names.emplace_back(name);
    return join(names, " ");
}

bool GpuActivity::throttled() const { return (reasons.value_or(0) & throttle_reasons) != 0; }

/// A GPU that is there, and what was seen of it. While the thread runs, only it samples.
class GpuMonitor::Watch {
  public:
    Watch(const std::string& uuid, std::chrono::milliseconds period, const char* library)
        : nvml_(library), device_(find_device(nvml_, uuid)), period_(period) {}

    void start() {
        if (!device_) return;
        thread_ = {};  // ends the one before, if it was never stopped
        seen_ = {};
        sample();
        thread_ = std::jthread([this](const std::stop_token& stop) {
            std::unique_lock lock(mutex_);
            // Waits out the period, unless told to stop.
            while (!wake_.wait_for(lock, stop, period_, [&] { return stop.stop_requested(); }))
                sample();
        });
    }

    GpuActivity stop() {
        if (!thread_.joinable()) return {};
        thread_ = {};
        sample();
        GpuActivity activity;
        activity.samples = seen_.samples;
        activity.sm_clock_mean_mhz = seen_.sm_clock.mean();
        activity.sm_clock_min_mhz = seen_.sm_clock.min();
        activity.sm_clock_limit_mhz =
            nvml_.number<unsigned>(1, "nvmlDeviceGetMaxClockInfo", device_, clock_sm);
        activity.memory_clock_mean_mhz = seen_.memory_clock.mean();
        activity.memory_clock_min_mhz = seen_.memory_clock.min();
        activity.power_mean_w = seen_.power.mean();
        activity.power_max_w = seen_.power.max();
        activity.power_limit_w =
            nvml_.number<unsigned>(1e-3, "nvmlDeviceGetEnforcedPowerLimit", device_);
        activity.temperature_max_c = seen_.temperature.max();
        activity.reasons = seen_.reasons;
        activity.throttled_fraction = seen_.throttled.mean();
        activity.power_capped_fraction = seen_.power_capped.mean();
        return activity;
    }

    std::optional<double> energy_j() const {
        if (!device_) return std::nullopt;
        return nvml_.number<unsigned long long>(1e-3, "nvmlDeviceGetTotalEnergyConsumption",
                                                device_);
    }

    std::optional<int> other_processes() const {
        if (!device_) return std::nullopt;
        const auto pids = processes(nvml_, compute_processes, device_);
        if (!pids || pids->empty()) return std::nullopt;
        const auto own = static_cast<unsigned>(::getpid());
        // In a container one of them is ourselves under the host's number.
        const auto listed = std::count(pids->begin(), pids->end(), own);
        return static_cast<int>(pids->size()) -
               static_cast<int>(std::max(listed, decltype(listed){1}));
    }

  private:
    struct Seen {
        int samples = 0;
        Series sm_clock;
        Series memory_clock;
        Series power;
        Series temperature;
        Series throttled;
        Series power_capped;
        std::optional<std::uint64_t> reasons;
    };

    void sample() {
        ++seen_.samples;
        seen_.sm_clock.add(nvml_.number<unsigned>(1, "nvmlDeviceGetClockInfo", device_, clock_sm));
        seen_.memory_clock.add(
            nvml_.number<unsigned>(1, "nvmlDeviceGetClockInfo", device_, clock_memory));
        seen_.power.add(nvml_.number<unsigned>(1e-3, "nvmlDeviceGetPowerUsage", device_));
        seen_.temperature.add(
            nvml_.number<unsigned>(1, "nvmlDeviceGetTemperature", device_, temperature_gpu));
        unsigned long long reasons = 0;
        // The second name is that of drivers before 535.
        if (!nvml_.call("nvmlDeviceGetCurrentClocksEventReasons", device_, &reasons) &&
            !nvml_.call("nvmlDeviceGetCurrentClocksThrottleReasons", device_, &reasons))
            return;
        seen_.reasons = seen_.reasons.value_or(0) | reasons;
        seen_.throttled.add((reasons & throttle_reasons) != 0 ? 1 : 0);
        seen_.power_capped.add((reasons & power_cap_reason) != 0 ? 1 : 0);
    }

    Library nvml_;
    Handle device_;
    std::chrono::milliseconds period_;
    Seen seen_;
    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::jthread thread_;  // last, so that it ends before what it uses
};

/// A device and the set of events that are to be told of it.
class GpuObserver::Look {
  public:
    Look(const std::string& uuid, const char* library)
        : nvml_(library), device_(find_device(nvml_, uuid)) {
        if (!device_ || !nvml_.call("nvmlEventSetCreate", &events_)) return;
        // Where it cannot tell of Xids, waiting for them would only fail.
        if (!nvml_.call("nvmlDeviceRegisterEvents", device_, event_xid, events_)) free_events();
    }
    ~Look() { free_events(); }
    Look(const Look&) = delete;
    Look& operator=(const Look&) = delete;

    GpuState look() {
        GpuState state;
        if (!device_) return state;
        Memory memory{};
        if (nvml_.call("nvmlDeviceGetMemoryInfo", device_, &memory)) {
            state.used_bytes = static_cast<std::int64_t>(memory.used);
            state.free_bytes = static_cast<std::int64_t>(memory.free);
        }
        state.temperature_c =
            nvml_.number<unsigned>(1, "nvmlDeviceGetTemperature", device_, temperature_gpu);
        state.slowdown_c = nvml_.number<unsigned>(1, "nvmlDeviceGetTemperatureThreshold", device_,
                                                  threshold_slowdown);
        unsigned long long errors = 0;
        if (nvml_.call("nvmlDeviceGetTotalEccErrors", device_, error_uncorrected, counter_volatile,
                       &errors))
            state.uncorrected_errors = static_cast<std::int64_t>(errors);
        for (const char* const function : {compute_processes, graphics_processes})
            for (const unsigned pid :
                 processes(nvml_, function, device_).value_or(std::vector<unsigned>()))
                state.pids.push_back(pid);
        std::sort(state.pids.begin(), state.pids.end());
        EventData event{};
        constexpr unsigned no_wait = 0;
        while (events_ && nvml_.call("nvmlEventSetWait_v2", events_, &event, no_wait))
            state.xids.push_back(event.data);
        return state;
    }

  private:
    void free_events() {
        if (events_) nvml_.call("nvmlEventSetFree", events_);
        events_ = nullptr;
    }

    Library nvml_;
    Handle device_;
    void* events_ = nullptr;
};

GpuObserver::GpuObserver(const std::string& gpu_uuid, const char* library)
    : look_(std::make_unique<Look>(gpu_uuid, library)) {}
GpuObserver::~GpuObserver() = default;
GpuObserver::GpuObserver(GpuObserver&&) noexcept = default;
GpuObserver& GpuObserver::operator=(GpuObserver&&) noexcept = default;
GpuState GpuObserver::look() { return look_->look(); }

GpuMonitor::GpuMonitor(const std::string& gpu_uuid, std::chrono::milliseconds period,
                       const char* library)
    : watch_(std::make_unique<Watch>(gpu_uuid, period, library)) {}
GpuMonitor::~GpuMonitor() = default;
void GpuMonitor::start() { watch_->start(); }
GpuActivity GpuMonitor::stop() { return watch_->stop(); }
std::optional<double> GpuMonitor::energy_j() const { return watch_->energy_j(); }
std::optional<int> GpuMonitor::other_processes() const { return watch_->other_processes(); }

}  // namespace isosweep
