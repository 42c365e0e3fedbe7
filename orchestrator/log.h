#pragma once

#include <filesystem>
#include <functional>
#include <string>

/// What the program says about itself: to a file per run, and what a person must know to stderr.
namespace isosweep::log {

/// Starts the run's log file. \throws ResultsError
void open(const std::filesystem::path& file);

/// Where lines for a person go instead of straight to stderr (a live line must be wiped first);
/// empty: to stderr.
void set_terminal(std::function<void(const std::string& line)> write);

void info(const std::string& line);     ///< to the file alone
void notice(const std::string& line);   ///< to the file and to stderr
void warning(const std::string& line);  ///< likewise, marked

/// "spdlog 1.10.0, fmt 9.1.0": what the log is written by.
std::string library_versions();

}  // namespace isosweep::log
