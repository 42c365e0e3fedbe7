#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// NVIDIA's management library (NVML, libnvidia-ml.so.1), loaded on demand. None of this starts
/// CUDA, and where the library, a working driver or one function is missing, what it would have
/// told is absent.
namespace isosweep {

/// An NVIDIA GPU of this machine as the driver's management library knows it.
struct Gpu {
    int index = 0;
    std::string uuid;  ///< "GPU-..."
    std::string name;  ///< "NVIDIA H200"
    std::int64_t memory_bytes = 0;
    std::string pci_address = {};  ///< "0000:3b:00.0", as the kernel writes it; empty: not known
};

/// The machine's GPUs and driver.
struct GpuInventory {
    std::string driver;  ///< "580.159.04"; empty where there is none
    std::vector<Gpu> gpus;
};

/// The library's name for the dynamic linker.
inline constexpr const char* nvml_library = "libnvidia-ml.so.1";

/// What GPUs there are; empty where nobody tells.
GpuInventory query_gpus(const char* library = nvml_library);

/// How a GPU ran while a GpuMonitor looked. Means and shares are over its samples.
struct GpuActivity {
    int samples = 0;
    std::optional<double> sm_clock_mean_mhz;
    std::optional<double> sm_clock_min_mhz;
    std::optional<double> sm_clock_limit_mhz;  ///< the highest that this GPU can run at
    std::optional<double> memory_clock_mean_mhz;
    std::optional<double> memory_clock_min_mhz;
    std::optional<double> power_mean_w;
    std::optional<double> power_max_w;
    std::optional<double> power_limit_w;
    std::optional<double> temperature_max_c;
    /// What held the clocks down at some time: NVML's clock event reasons, or-ed.
    std::optional<std::uint64_t> reasons;
    std::optional<double> throttled_fraction;     ///< of the samples: a reason of `throttled`
    std::optional<double> power_capped_fraction;  ///< likewise: the power limit

    /// The reasons by name: "sw_power_cap hw_thermal"; empty for none.
    std::string reasons_text() const;

    /// Whether heat or a hardware brake slowed the GPU down. The power limit alone does not count:
    /// it is where large matrix products run.
    bool throttled() const;
};

/// How a GPU is at a moment, as far as the driver tells.
struct GpuState {
    std::optional<std::int64_t> used_bytes;
    std::optional<std::int64_t> free_bytes;
    std::optional<double> temperature_c;
    std::optional<double> slowdown_c;                ///< from where on it slows itself down
    std::optional<std::int64_t> uncorrected_errors;  ///< ECC errors since the driver was loaded
    std::vector<unsigned> pids;                      ///< processes that are on it, sorted
    std::vector<std::uint64_t> xids;                 ///< driver errors (Xid) since the last look
};

/// Looks at one GPU from outside now and then. Keeps the driver's library open meanwhile.
class GpuObserver {
  public:
    /// A GPU that is not known by its whole UUID is not observed: all of its state is absent.
    explicit GpuObserver(const std::string& gpu_uuid, const char* library = nvml_library);
    ~GpuObserver();
    GpuObserver(GpuObserver&&) noexcept;
    GpuObserver& operator=(GpuObserver&&) noexcept;

    GpuState look();

  private:
    class Look;
    std::unique_ptr<Look> look_;
};

/// Watches one GPU from a thread of its own. A GPU that is not known by its whole UUID ("GPU-..."),
/// a MIG device say, is not watched: all of its figures are absent.
class GpuMonitor {
  public:
    explicit GpuMonitor(const std::string& gpu_uuid,
                        std::chrono::milliseconds period = std::chrono::milliseconds(100),
                        const char* library = nvml_library);
    ~GpuMonitor();
    GpuMonitor(const GpuMonitor&) = delete;
    GpuMonitor& operator=(const GpuMonitor&) = delete;

    /// Takes a sample now and then one each period, until `stop`. What was seen before is dropped.
    void start();

    /// Takes the last sample and ends the thread at once. \returns what was seen since `start`
    GpuActivity stop();

    /// Energy that the GPU has used since the driver was loaded, in joules.
    std::optional<double> energy_j() const;

    /// How many other processes compute on the GPU. For a process that does so itself: where it
    /// sees nobody, not even itself, as in some containers, the figure is absent.
    std::optional<int> other_processes() const;

  private:
    class Watch;
    std::unique_ptr<Watch> watch_;
};

}  // namespace isosweep
