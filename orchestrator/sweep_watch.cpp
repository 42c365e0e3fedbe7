#include "orchestrator/sweep_watch.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <sstream>
#include <thread>

#include "orchestrator/clock.h"
#include "orchestrator/fallback.h"
#include "orchestrator/status_display.h"

namespace isosweep {
namespace {

/// How long a run may write nothing: a cell that takes all its limits, and a minute for the rest.
std::optional<std::int64_t> longest_silence_ms(const Options& options) {
    if (!options.launcher.empty()) return std::nullopt;  // it may queue
    const auto limits =
        options.start_timeout + options.timeout + options.kill_grace + options.gpu_timeout;
    return limits.count() + 60'000;
}

/// A text that replaces itself on the terminal.
class Redrawn {
  public:
    void draw(const std::string& text) {
        winsize size{};
        const bool is_known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
        // What wraps could not be counted.
        const std::size_t width = is_known ? size.ws_col - 1U : 79U;
        std::string screen = lines_ > 0 ? "\x1b[" + std::to_string(lines_) + "A\x1b[J" : "";
        lines_ = 0;
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line); ++lines_)
            screen += one_line(line, width) + "\n";
        print(screen);
    }

  private:
    std::size_t lines_ = 0;
};

}  // namespace

SweepWatch::SweepWatch(Options options)
    : options_(std::move(options)),
      plan_(make_plan(options_.grid)),
      rows_(plan_),
      journal_(Journal::watch(options_.folder() / "journal.jsonl")) {}

SweepStatus SweepWatch::look() {
    // The lock first: a run that ends in between has then written all that it had to.
    const LockState lock = OutputLock::look(options_.folder() / "lock");
    if (journal_.read_further()) rows_ = with_fallbacks(plan_, journal_);
    return make_status(rows_, journal_,
                       {lock, host_name(), unix_now_ms(), longest_silence_ms(options_)});
}

std::string printed_status(const SweepStatus& status, StatusFormat format) {
    return format == StatusFormat::json ? boost::json::serialize(status_json(status)) + "\n"
                                        : status_text(status);
}

void follow(SweepWatch& watch, StatusFormat format) {
    Redrawn terminal;
    const bool redraws = format == StatusFormat::text && is_live_terminal(STDOUT_FILENO);
    std::string last;
    while (true) {
        const SweepStatus status = watch.look();
        const std::string line = status_line(status) + "\n";
        if (redraws) {
            terminal.draw(status_text(status));
        } else if (line != last) {
            if (!print(format == StatusFormat::json ? printed_status(status, format) : line))
                return;
            last = line;
        }
        if (status.run == RunState::none || status.run == RunState::unlikely) return;
        // A look costs an open and a stat. What changes a file elsewhere would not wake us.
        std::this_thread::sleep_for(std::chrono::seconds(1));
    }
}

}  // namespace isosweep
