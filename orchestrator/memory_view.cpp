#include "orchestrator/memory_view.h"

#include <isosweep/text.h>

#include <map>
#include <optional>
#include <string>

#include "orchestrator/view_parts.h"

namespace isosweep {
namespace {

/// Bytes of "NVIDIA H200 (140 GiB)"; none where several kinds are named.
std::optional<double> bytes_in_name(const std::string& gpu) {
    const auto open = gpu.find_last_of('(');
    if (gpu.find(", ") != std::string::npos || open == std::string::npos || !gpu.ends_with(')'))
        return std::nullopt;
    std::string bytes = gpu.substr(open + 1, gpu.size() - open - 2);
    std::erase(bytes, ' ');
    try {
        return static_cast<double>(parse_bytes(bytes));
    } catch (const BadValue&) {
        return std::nullopt;
    }
}

/// Each GPU's memory: exact where one of its cells ran out of memory and said so.
std::map<std::string, double> capacities(const Table& cells) {
    std::map<std::string, double> bytes;
    for (std::size_t row = 0; row < cells.row_count(); ++row)
        if (const auto capacity = number_at(cells, row, "capacity_bytes"))
            bytes[text_at(cells, row, "gpu_uuid")] = *capacity;
    return bytes;
}

}  // namespace

Table memory_rows(const Table& cells) {
    const std::map<std::string, double> known = capacities(cells);
    Table table = without_rows(cells);
    for (std::size_t row = 0; row < cells.row_count(); ++row) {
        copy_row(table, cells, row);
        if (text_at(cells, row, "device") != "cuda") continue;
        std::optional<double> room = number_at(cells, row, "gpu_memory_limit");
        if (!room) {
            const auto capacity = known.find(text_at(cells, row, "gpu_uuid"));
            room = capacity != known.end() ? capacity->second
                                           : bytes_in_name(text_at(cells, row, "gpu"));
        }
        if (!room) continue;
        table.set("memory_room_bytes", static_cast<std::int64_t>(*room));
        if (const auto peak = number_at(cells, row, "peak_allocated_bytes"))
            table.set("memory_share_percent", 100 * *peak / *room);
    }
    return table;
}

std::vector<ShownColumn> shown_memory(const Table& rows) {
    std::vector<ShownColumn> shown = shown_axes(rows);
    const auto add_gibibytes = [&](const std::string& column, const std::string& heading) {
        shown.push_back({column, heading, 3, ShowAs::gibibytes});
    };
    add_gibibytes("peak_allocated_bytes", "peak GiB");
    shown.push_back({"memory_share_percent", "% of room", 1});
    add_gibibytes("parameters_bytes", "weights");
    add_gibibytes("gradients_bytes", "gradients");
    add_gibibytes("optimizer_bytes", "optimizer");
    add_gibibytes("activations_bytes", "activations");
    add_gibibytes("workspace_bytes", "workspace");
    add_gibibytes("peak_reserved_bytes", "reserved");
    add_gibibytes("outside_torch_bytes", "outside torch");
    add_gibibytes("peak_resident_bytes", "resident GiB");
    shown.push_back({"memory_room_bytes", "room GiB", 1, ShowAs::gibibytes});
    add_gibibytes("requested_bytes", "asked GiB");
    add_gibibytes("free_bytes", "free GiB");
    shown.push_back({"status", "status"});
    return shown;
}

}  // namespace isosweep
