#pragma once

#include <ATen/record_function.h>

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace isosweep {

/// Names a part of a step while it lives, for whoever looks inside: an NVTX range for NVIDIA's
/// profilers, an annotation for Torch's. Regions nest. While none are recorded, one costs the load
/// of a bool.
class Region {
  public:
    explicit Region(std::string_view name) {
        if (recorded) open(std::string(name));
    }
    /// As in "layer 3".
    Region(std::string_view name, std::size_t number) {
        if (recorded) open(std::string(name) + " " + std::to_string(number));
    }
    ~Region() {
        if (annotation_) close();
    }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;

    /// The regions that are open on this thread, outermost first. Empty while none are recorded.
    static const std::deque<std::string>& open_on_this_thread();

  private:
    friend class RegionRecording;

    void open(const std::string& name);
    void close();

    static inline bool recorded = false;
    std::optional<at::RecordFunction> annotation_;
};

/// While it lives, regions are recorded. Begins and ends where no step is running.
class RegionRecording {
  public:
    RegionRecording() { Region::recorded = true; }
    ~RegionRecording() { Region::recorded = false; }
    RegionRecording(const RegionRecording&) = delete;
    RegionRecording& operator=(const RegionRecording&) = delete;
};

}  // namespace isosweep
