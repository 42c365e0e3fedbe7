#include <doctest/doctest.h>
#include <isosweep/nvml.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

using namespace isosweep;
using namespace std::chrono_literals;

namespace {

/// The environment of the fake library while it lives.
class Variable {
  public:
    Variable(const char* name, const std::string& value) : name_(name) {
        ::setenv(name, value.c_str(), 1);
    }
    ~Variable() { ::unsetenv(name_); }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;

  private:
    const char* name_;
};

const char* const uuid = "GPU-fake-0";

GpuActivity activity_with(const char* reasons) {
    const Variable variable("FAKE_NVML_REASONS", reasons);
    GpuMonitor monitor(uuid, 1h, FAKE_NVML);
    monitor.start();
    return monitor.stop();
}

std::optional<int> others_with(const std::string& pids) {
    const Variable variable("FAKE_NVML_PIDS", pids);
    return GpuMonitor(uuid, 1h, FAKE_NVML).other_processes();
}

}  // namespace

TEST_CASE("the GPUs and the driver are listed, or nothing where there is no library") {
    const GpuInventory inventory = query_gpus(FAKE_NVML);
    CHECK(inventory.driver == "999.1");
    REQUIRE(inventory.gpus.size() == 1);
    CHECK(inventory.gpus[0].uuid == uuid);
    CHECK(inventory.gpus[0].memory_bytes == std::int64_t{8} << 30);
    CHECK(inventory.gpus[0].pci_address == "0000:f0:1f.0");
    CHECK(query_gpus("/nowhere/libnvidia-ml.so.1").gpus.empty());
}

TEST_CASE("a monitor samples at its start, each period and at its stop") {
    GpuMonitor monitor(uuid, 1ms, FAKE_NVML);
    monitor.start();
    std::this_thread::sleep_for(50ms);
    const GpuActivity activity = monitor.stop();
    CHECK(activity.samples > 4);
    CHECK(activity.sm_clock_min_mhz == 1000.0);
    CHECK(*activity.sm_clock_mean_mhz == doctest::Approx(1490).epsilon(0.2));
    CHECK(activity.sm_clock_limit_mhz == 1980.0);
    CHECK(activity.memory_clock_mean_mhz == 2619.0);
    CHECK(activity.memory_clock_min_mhz == 2619.0);
    CHECK(activity.power_mean_w == 650.5);
    CHECK(activity.power_max_w == 650.5);
    CHECK(activity.power_limit_w == 700.0);
    CHECK(activity.temperature_max_c == 61.0);
    CHECK(activity.reasons == 0U);
    CHECK(activity.throttled_fraction == 0.0);
    CHECK(monitor.energy_j() == 12.5);
    CHECK(monitor.stop().samples == 0);  // it was stopped
    monitor.start();
    monitor.start();  // anew
    CHECK(monitor.stop().samples == 2);
}

TEST_CASE("stopping does not wait for the period") {
    GpuMonitor monitor(uuid, 1h, FAKE_NVML);
    const auto begin = std::chrono::steady_clock::now();
    monitor.start();
    const GpuActivity activity = monitor.stop();
    GpuMonitor(uuid, 1h, FAKE_NVML).start();  // nor does the end of one that still runs
    CHECK(std::chrono::steady_clock::now() - begin < 10s);
    CHECK(activity.samples == 2);
    CHECK(activity.sm_clock_mean_mhz == 1490.0);
}

TEST_CASE("heat and hardware brakes are throttling, the power limit is not") {
    const GpuActivity capped = activity_with("0x4");
    CHECK_FALSE(capped.throttled());
    CHECK(capped.reasons_text() == "sw_power_cap");
    CHECK(capped.power_capped_fraction == 1.0);
    CHECK(capped.throttled_fraction == 0.0);
    const GpuActivity hot = activity_with("0x44");
    CHECK(hot.throttled());
    CHECK(hot.reasons_text() == "sw_power_cap hw_thermal");
    CHECK(hot.throttled_fraction == 1.0);
    for (const char* reason : {"0x8", "0x20", "0x40", "0x80"})
        CHECK(activity_with(reason).throttled());
    CHECK_FALSE(activity_with("0x3").throttled());
    CHECK(activity_with("0x3").reasons_text() == "idle app_clocks");
    CHECK(activity_with("0").reasons_text().empty());
}

TEST_CASE("other processes are counted without this one, also where it goes by another number") {
    const std::string own = std::to_string(::getpid());
    CHECK(others_with(own) == 0);
    CHECK(others_with(own + " 999999901 999999902") == 2);
    CHECK(others_with("999999901") == 0);
    CHECK(others_with("999999901 999999902") == 1);
    CHECK_FALSE(others_with("").has_value());
}

TEST_CASE("an old library tells what it can") {
    const Variable variable("FAKE_NVML_REASONS", "0x20");
    GpuMonitor monitor(uuid, 1h, FAKE_NVML_OLD);
    monitor.start();
    const GpuActivity activity = monitor.stop();
    CHECK(activity.sm_clock_mean_mhz == 1490.0);
    CHECK(activity.reasons_text() == "sw_thermal");
    CHECK_FALSE(activity.sm_clock_limit_mhz.has_value());
    CHECK_FALSE(activity.power_mean_w.has_value());
    CHECK_FALSE(activity.power_limit_w.has_value());
    CHECK_FALSE(activity.temperature_max_c.has_value());
    CHECK_FALSE(monitor.energy_j().has_value());
    CHECK_FALSE(monitor.other_processes().has_value());
}

TEST_CASE("without the library, and for a GPU that it does not know, all is absent") {
    const std::pair<const char*, const char*> cases[] = {
        {uuid, "/nowhere/libnvidia-ml.so.1"}, {"GPU-other", FAKE_NVML}, {"MIG-1", FAKE_NVML}};
    for (const auto& [gpu, library] : cases) {
        GpuMonitor monitor(gpu, 1ms, library);
        monitor.start();
        const GpuActivity activity = monitor.stop();
        CHECK(activity.samples == 0);
        CHECK_FALSE(activity.sm_clock_mean_mhz.has_value());
        CHECK_FALSE(activity.reasons.has_value());
        CHECK_FALSE(activity.throttled());
        CHECK_FALSE(monitor.energy_j().has_value());
        CHECK_FALSE(monitor.other_processes().has_value());
    }
}
