#include <isosweep/gpu_peak.h>

namespace isosweep {
namespace {

/// Rates by precision; 0: not known.
struct Rates {
    double fp32;
    double tf32;
    double bf16;

    std::optional<double> of(Precision precision) const {
        const double rate = precision == Precision::fp32   ? fp32
                            : precision == Precision::tf32 ? tf32
                                                           : bf16;
        if (rate == 0) return std::nullopt;
        return rate;
    }
};

struct Datasheet {
    std::string_view name;  ///< how the driver's name starts
    Rates tflops;
    double gb_per_s;  ///< of the memory
};

// NVIDIA's datasheets: A100 (2021), H100 (2022 with PCIe, 2024 with NVL), H200 (2024), B200 (2024).
// Those of Hopper and later give tensor cores with sparsity: dense is half of it.
constexpr Datasheet datasheets[] = {
    {"NVIDIA A100-SXM4-40GB", {19.5, 156, 312}, 1555},
    {"NVIDIA A100-SXM4-80GB", {19.5, 156, 312}, 2039},
    {"NVIDIA A100-PCIE", {19.5, 156, 312}, 1555},
    {"NVIDIA A100 80GB PCIe", {19.5, 156, 312}, 1935},
    {"NVIDIA H100 80GB HBM3", {67, 494.7, 989.4}, 3350},
    {"NVIDIA H100 PCIe", {51, 378, 756}, 2000},
    {"NVIDIA H100 NVL", {60, 417.5, 835}, 3900},
    {"NVIDIA H200 NVL", {60, 417.5, 835}, 4800},
    {"NVIDIA H200", {67, 494.7, 989.4}, 4800},
    {"NVIDIA B200", {0, 0, 2250}, 8000},
};

const Datasheet* find_datasheet(std::string_view gpu_name) {
    if (gpu_name.find("MIG") != std::string_view::npos) return nullptr;
    for (const Datasheet& sheet : datasheets)
        if (gpu_name.starts_with(sheet.name)) return &sheet;
    return nullptr;
}

/// FLOPs per clock and SM: the tuning guides' tensor core rates, twice the fp32 lanes. 132 SMs *
/// 4096 * 1.83 GHz are the 989.4 TFLOP/s of the H100's datasheet, 108 * 2048 * 1.41 GHz the A100's
/// 312.
struct Architecture {
    int major;
    int minor;
    Rates flops_per_clock;
};
constexpr Architecture architectures[] = {{8, 0, {128, 1024, 2048}}, {9, 0, {256, 2048, 4096}}};

}  // namespace

std::optional<double> datasheet_tflops(std::string_view gpu_name, Precision precision) {
    const Datasheet* const sheet = find_datasheet(gpu_name);
    return sheet ? sheet->tflops.of(precision) : std::nullopt;
}

std::optional<double> datasheet_gb_per_s(std::string_view gpu_name) {
    const Datasheet* const sheet = find_datasheet(gpu_name);
    return sheet ? std::optional(sheet->gb_per_s) : std::nullopt;
}

std::optional<double> max_clock_tflops(int major, int minor, std::int64_t sm_count,
                                       double max_sm_clock_mhz, Precision precision) {
    if (sm_count <= 0 || max_sm_clock_mhz <= 0) return std::nullopt;
    for (const Architecture& known : architectures) {
        if (known.major != major || known.minor != minor) continue;
        const auto rate = known.flops_per_clock.of(precision);
        if (!rate) return std::nullopt;
        return static_cast<double>(sm_count) * *rate * max_sm_clock_mhz * 1e6 / 1e12;
    }
    return std::nullopt;
}

}  // namespace isosweep
