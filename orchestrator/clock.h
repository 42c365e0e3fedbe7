#pragma once

#include <cstdint>
#include <string>

namespace isosweep {

/// Milliseconds since 1970, UTC: for the record, never for measuring.
std::int64_t unix_now_ms();

/// "2026-11-22T20:45:00Z".
std::string format_utc(std::int64_t unix_ms);

/// "20261122-204500", local time, for the names of files.
std::string timestamp_for_names();

}  // namespace isosweep
