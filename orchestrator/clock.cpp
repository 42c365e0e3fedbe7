#include "orchestrator/clock.h"

#include <array>
#include <charconv>
#include <chrono>
#include <ctime>

namespace isosweep {

std::int64_t unix_now_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

std::string format_utc(std::int64_t unix_ms) {
    const std::time_t seconds = unix_ms / 1000;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text.data();
}

std::optional<std::int64_t> parse_utc(std::string_view text) {
    constexpr std::string_view form = "dddd-dd-ddTdd:dd:ddZ";
    if (text.size() != form.size()) return std::nullopt;
    for (std::size_t i = 0; i < form.size(); ++i)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return std::nullopt;
    const auto number = [&](std::size_t at, std::size_t digits) {
        unsigned value = 0;
        std::from_chars(text.data() + at, text.data() + at + digits, value);
        return value;
    };
    using namespace std::chrono;
    const year_month_day day{year(static_cast<int>(number(0, 4))), month(number(5, 2)),
                             std::chrono::day(number(8, 2))};
    if (!day.ok()) return std::nullopt;
    return milliseconds(sys_days(day).time_since_epoch() + hours(number(11, 2)) +
                        minutes(number(14, 2)) + seconds(number(17, 2)))
        .count();
}

std::string timestamp_for_names() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y%m%d-%H%M%S", &parts);
    return text.data();
}

}  // namespace isosweep
