#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace isosweep {

/// Milliseconds since 1970, UTC: for the record, never for measuring.
std::int64_t unix_now_ms();

/// "2026-11-22T20:45:00Z".
std::string format_utc(std::int64_t unix_ms);

/// The reverse. \returns nullopt for what is no such text
std::optional<std::int64_t> parse_utc(std::string_view text);

/// "20261122-204500", local time, for the names of files.
std::string timestamp_for_names();

}  // namespace isosweep
