#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

/// What is fuzzed: libFuzzer's own interface, which replay.cpp serves where there is no libFuzzer.
/// Anything that must not be ends the process: a failed `expect`, an exception that gets out, a
/// sanitizer's report.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace isosweep::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

inline void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

/// A file of this process, in memory where the machine has such a place.
inline std::filesystem::path scratch_file(const std::string& name) {
    const bool in_memory = ::access("/dev/shm", W_OK) == 0;
    const std::filesystem::path folder =
        (in_memory ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) /
        ("isosweep-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
    return folder / name;
}

inline void write_file(const std::filesystem::path& file, std::string_view text) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
}

}  // namespace isosweep::fuzz
