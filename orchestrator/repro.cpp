#include "orchestrator/repro.h"

#include <isosweep/protocol.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>

namespace isosweep {
namespace {

constexpr std::array<std::string_view, 5> always_named = {"model_size", "context_length",
                                                          "batch_size", "pass_type", "device"};

/// Whether the dimensions are what the size's name alone says.
bool has_known_dimensions(const Cell& cell) {
    const ModelConfig* const known = find_model_config(cell.model_size);
    ModelConfig dimensions = model_config(cell);
    if (known) dimensions.vocab_size = known->vocab_size;
    return known && dimensions == *known;
}

}  // namespace

std::string command_by_hand(const Cell& cell) {
    std::map<std::string_view, std::string> usual;
    const Cell defaults;
    for_each_field(defaults, [&](const Field& field, const auto& value) {
        usual[field.name] = to_text(value);
    });
    const bool known_dimensions = has_known_dimensions(cell);
    std::string command = "isosweep-worker";
    for_each_field(cell, [&](const Field& field, const auto& value) {
        const std::string text = to_text(value);
        const bool is_always_named =
            std::find(always_named.begin(), always_named.end(), field.name) != always_named.end();
        const bool is_named = field.kind == FieldKind::dimension
                                  ? !known_dimensions
                                  : is_always_named || text != usual[field.name];
        // A replicate is the same cell measured once more.
        if (is_named && field.kind != FieldKind::counter)
            command += " --" + field.key() + " " + shell_quoted(text);
    });
    return command;
}

std::string repro_request(const Cell& cell) {
    return protocol::request_line({"repro", to_json(cell)});
}

std::string repro_script(const Cell& cell, const ReproSettings& settings) {
    std::string request = repro_request(cell);
    request.pop_back();  // printf writes the line's end
    // A tool stands between the launcher and the worker: what it looks at is the worker.
    const auto worker_at = settings.argv.end() - 2;
    std::string launcher;
    for (auto word = settings.argv.begin(); word != worker_at; ++word)
        launcher += shell_quoted(*word) + " ";
    const std::string worker = shell_quoted(*worker_at);
    const std::string serve = shell_quoted(settings.argv.back());

    std::string script =
        "#!/bin/sh\n# Runs this cell alone in the foreground: " + one_line(describe(cell)) + "\n";
    // Only our own worker has a command line of its own.
    if (cell.custom.empty()) script += "# By hand: " + one_line(command_by_hand(cell), 2000) + "\n";
    if (settings.memory_limit != 0)
        script += "# The sweep held its workers to memory-limit = " +
                  format_bytes(settings.memory_limit) + ", this does not.\n";
    script += R"sh(#
#   repro.sh                              asks a worker for the cell
#   repro.sh gdb [OPTIONS]                opens the worker in gdb; there, `run` begins, with the
#                                         request from request.json beside this file as its stdin
#   repro.sh compute-sanitizer [OPTIONS]  asks a worker under NVIDIA's compute-sanitizer
#
# Exit codes: the worker's or the tool's; 2 usage, 5 the tool is missing.
#
# What stands in single quotes is meant so.
# shellcheck disable=SC2016
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit
)sh";
    script += "cd " + shell_quoted(std::filesystem::current_path().string()) + " || exit\n";
    script += "request=" + shell_quoted(request) + "\n";
    std::string exports;
    for (const std::string& variable : settings.environment) {
        const auto equals = variable.find('=');
        const std::string name = variable.substr(0, equals);
        if (name == "CUDA_VISIBLE_DEVICES" && !settings.gpu_uuid.empty()) continue;
        exports += "export " + name + "=" + shell_quoted(variable.substr(equals + 1)) + "\n";
    }
    if (!settings.gpu_uuid.empty())
        exports += "export CUDA_VISIBLE_DEVICES=" + shell_quoted(settings.gpu_uuid) + "\n";
    if (!exports.empty())
        script += "# Of the environment of the sweep, what matters to a measurement.\n" + exports;
    script += R"sh(
need() {
    command -v "$1" >/dev/null 2>&1 && return
    echo "repro.sh: $1 is not in PATH: $2" >&2
    exit 5
}

case ${1-} in
'')
    printf '%s\n' "$request" |
        )sh" + launcher +
              worker + " " + serve + R"sh(
    ;;
gdb)
    shift
    need gdb "install it, with your system's packages"
    export REPRO_REQUEST="$here/request.json"
    if [ ! -r "$REPRO_REQUEST" ]; then
        echo "repro.sh: there is no $REPRO_REQUEST: it belongs beside this script" >&2
        exit 5
    fi
    # gdb starts the worker through a shell, which reads the variable.
    exec )sh" +
              launcher + R"sh(gdb "$@" -ex 'set args )sh" + serve +
              R"sh( <"$REPRO_REQUEST"' --args )sh" + worker + " " + serve + R"sh(
    ;;
compute-sanitizer)
    shift
    need compute-sanitizer "it comes with the CUDA toolkit, as in /usr/local/cuda/bin"
    printf '%s\n' "$request" |
        )sh" + launcher +
              R"sh(compute-sanitizer "$@" )sh" + worker + " " + serve + R"sh(
    ;;
*)
    echo "usage: repro.sh [gdb [OPTIONS] | compute-sanitizer [OPTIONS]]" >&2
    exit 2
    ;;
esac
)sh";
    return script;
}

}  // namespace isosweep
