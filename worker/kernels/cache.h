#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// What was compiled at run time, kept on the disk for the next process. Several may read and write
/// at the same time: a file is whole or not there.
namespace isosweep::kernels {

/// $XDG_CACHE_HOME/isosweep, else ~/.cache/isosweep; empty where neither variable is set.
std::filesystem::path cache_folder();

/// A file's name for what is made from `parts`, any of which makes it another one.
std::string cache_name(std::span<const std::string> parts);

/// What `write_cached` wrote; nothing if the file is not there, or is damaged.
std::optional<std::string> read_cached(const std::filesystem::path& file);

/// Replaces the file, and makes its folder if need be. \returns what went wrong, or ""
std::string write_cached(const std::filesystem::path& file, std::string_view content);

}  // namespace isosweep::kernels
