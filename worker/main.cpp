// isosweep-worker: measures one cell by hand, or cell after cell for `isosweep`.

#include <ATen/Version.h>
#include <isosweep/build_info.h>
#include <torch/version.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <iostream>

#include "device.h"
#include "inspect.h"
#include "options.h"
#include "output.h"
#include "probe.h"
#include "report.h"
#include "run_cell.h"
#include "serve.h"

namespace isosweep {
namespace {

void warn(const std::string& message) {
    std::cerr << "isosweep-worker: warning: " << message << "\n";
}

/// By hand, a GPU that is not there is no reason to do nothing.
Cell with_a_device_that_is_here(Cell cell) {
    if (cell.device == Device::cuda && !cuda::is_usable()) {
        warn("no CUDA device; measuring on the CPU");
        cell.device = Device::cpu;
    }
    return cell;
}

/// Writes the result as the line of the protocol or, where it is ok, as what `text` makes of its
/// measurement. \returns the exit code
template <class Text>
int print(const CellResult& result, const Options& options, ResultOutput& output, Text&& text) {
    if (result.status != Status::ok)
        std::cerr << "isosweep-worker: " << failure_text(result.status, result.error) << "\n";
    if (options.json)
        output.write(result.line(""));
    else if (result.status == Status::ok)
        output.write(text(result.measurement));
    if (result.status == Status::ok && options.strict && !result.flags.empty()) {
        std::cerr << "isosweep-worker: flagged: " << join(result.flags, ", ") << " (--strict)\n";
        return 1;
    }
    return result.status == Status::ok ? 0 : 1;
}

int run_by_hand(const Options& options, ResultOutput& output) {
    const Cell cell = with_a_device_that_is_here(options.cell);
    if (options.inspection.any())
        return print(
            inspect(cell, options.inspection), options, output,
            [&](const boost::json::object& found) { return inspection_text(cell, found); });
    const CellResult result = run_cell(cell, [](std::string_view) {});
    return print(result, options, output,
                 [&](const boost::json::object&) { return report_text(cell, result); });
}

int probe_by_hand(const Options& options, ResultOutput& output) {
    const CellResult result = run_probe(
        {{"name", options.probe}, {"precision", to_name(options.cell.precision)}}, [](auto) {});
    return print(result, options, output, probe_text);
}

int run(int argc, char** argv) {
    const Options options = parse_options(argc, argv);
    ResultOutput output;
    switch (options.action) {
        case Options::Action::help:
            output.write(help_text());
            return 0;
        case Options::Action::version:
            output.write("isosweep-worker " + build_id() + ", LibTorch " TORCH_VERSION "\n" +
                         at::show_config());
            return 0;
        case Options::Action::serve:
            if (is_debug_build()) warn("not built for speed; its times mean nothing");
            return serve(output);
        case Options::Action::run:
            if (is_debug_build()) warn("not built for speed; its times mean nothing");
            return run_by_hand(options, output);
        case Options::Action::probe:
            return probe_by_hand(options, output);
    }
    return 2;
}

int run_and_explain(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const UsageError& problem) {
        std::cerr << "isosweep-worker: " << problem.what() << "\n";
        return 2;
    } catch (const std::exception& problem) {
        std::cerr << "isosweep-worker: " << problem.what() << "\n";
        return 1;
    }
}

}  // namespace
}  // namespace isosweep

int main(int argc, char** argv) {
    const int code = isosweep::run_and_explain(argc, argv);
    // Not through exit(): the destructors of CUDA's libraries crash at times, and all is written.
    std::cerr.flush();
    std::fflush(nullptr);
    ::_exit(code);
}
