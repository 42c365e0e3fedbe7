#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace isosweep {

/// What a sweep was measured with, as its journal keeps it. A resume with another is refused unless
/// it is allowed (`allow-mixed`).
struct Setting {
    std::string isosweep;        ///< this program's build
    std::string isolation;       ///< process or shared
    std::string device;          ///< what `auto` and `cuda` mean here: cuda or cpu
    std::string device_warning;  ///< why that is not what was asked for; empty if it is
    std::string gpu;             ///< "NVIDIA H200 (140 GiB)", several joined by ", "; empty without
    std::string driver;
    // From the first hello, absent before it:
    std::optional<std::string> worker;  ///< the worker's build
    std::optional<std::string> torch;   ///< empty for a worker without Torch

    bool operator==(const Setting&) const = default;
};

/// A part in which two settings differ.
struct SettingDifference {
    std::string part;  ///< as a person calls it: "driver"
    std::string was;
    std::string is;
};

/// The first part that both know and in which they differ. What `device` means is none: it was
/// decided when the sweep began.
std::optional<SettingDifference> find_difference(const Setting& was, const Setting& is);

/// Refuses to go on with a sweep that was begun with something else.
/// \throws UsageError naming the journal and both settings
void refuse_difference(const SettingDifference& difference, const std::filesystem::path& journal);

}  // namespace isosweep
