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

std::string repro_script(const Cell& cell, const std::vector<std::string>& argv,
                         const std::string& gpu_uuid) {
    std::string request = protocol::request_line({"repro", to_json(cell)});
    request.pop_back();  // printf writes the line's end
    std::string script =
        "#!/bin/sh\n# Runs this cell alone in the foreground: " + one_line(describe(cell)) + "\n";
    // Only our own worker has a command line of its own.
    if (cell.custom.empty()) script += "# By hand: " + one_line(command_by_hand(cell), 2000) + "\n";
    script += "cd " + shell_quoted(std::filesystem::current_path().string()) +
              " || exit\nprintf '%s\\n' " + shell_quoted(request) + " |\n   ";
    if (!gpu_uuid.empty()) script += " env CUDA_VISIBLE_DEVICES=" + gpu_uuid;
    for (const std::string& word : argv) script += " " + shell_quoted(word);
    return script + "\n";
}

}  // namespace isosweep
