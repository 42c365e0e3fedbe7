#include "orchestrator/versions.h"

#include <gnu/libc-version.h>
#include <isosweep/build_info.h>
#include <isosweep/nvml.h>
#include <isosweep/text.h>

#include <array>
#include <boost/version.hpp>
#include <cstdio>

#include "orchestrator/log.h"

namespace isosweep {
namespace {

std::string boost_version() {
    return std::to_string(BOOST_VERSION / 100000) + "." +
           std::to_string(BOOST_VERSION / 100 % 1000) + "." + std::to_string(BOOST_VERSION % 100);
}

/// The first line that a command prints; empty where there is no such program.
std::string first_line_of(const char* command) {
    FILE* const output = ::popen(command, "r");  // NOLINT(*-command-processor): a constant
    if (!output) return {};
    std::array<char, 256> line{};
    const bool has_line = std::fgets(line.data(), line.size(), output) != nullptr;
    ::pclose(output);
    return has_line ? std::string(trim(line.data())) : std::string();
}

}  // namespace

std::string version_text() {
    const std::string driver = query_gpus().driver;
    const std::string gnuplot = first_line_of("gnuplot --version 2>/dev/null");
    return "isosweep " + build_id() + "\nBoost " + boost_version() + ", " +
           log::library_versions() + ", CSV Parser " ISOSWEEP_CSV_VERSION +
           "\ncompiler " __VERSION__ ", glibc " + ::gnu_get_libc_version() + "\n" +
           (driver.empty() ? "no NVIDIA driver" : "NVIDIA driver " + driver) + "\n" +
           (gnuplot.empty() ? "no gnuplot" : gnuplot) + "\n";
}

}  // namespace isosweep
