#include "orchestrator/status_display.h"

#include <isosweep/statistics.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "orchestrator/eta.h"

namespace isosweep {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// "12.345 ms +- 0.023" for an ok outcome, the reason for another.
std::string in_short(const Outcome& outcome) {
    if (outcome.status != Status::ok) return outcome.message;
    const auto statistics = summarize(outcome.measurement, "samples_ms");
    if (!statistics) return {};
    return format_fixed(statistics->mean, 3) + " ms +- " +
           format_fixed(statistics->population_std, 3);
}

/// What both displays count and say of an ended attempt.
class CountingDisplay : public StatusDisplay {
  public:
    void begin(std::size_t total, const std::vector<PlannedCell>& left) override {
        total_ = total;
        done_ = total - left.size();
        for (const PlannedCell& cell : left) eta_.add_left(cell.cell);
        if (done_ > 0)
            print(std::to_string(done_) + " of " + std::to_string(total_) +
                  " cells already have their outcome");
    }

    void cell_added(const PlannedCell& cell) override {
        ++total_;
        eta_.add_left(cell.cell);
    }

    void cell_ended(const PlannedCell& cell, int slot, const Attempt& attempt) override {
        ended(slot, cell.key);
        if (attempt.decision == Decision::record) {
            ++done_;
            if (is_failed(attempt.outcome.status)) ++failed_;
            eta_.remove_left(cell.cell);
            // What was skipped tells nothing of how long others take.
            if (is_final(attempt.outcome.status))
                eta_.add_finished(cell.cell, static_cast<double>(attempt.elapsed_ms));
        }
        const std::string total = std::to_string(total_);
        std::string number = std::to_string(done_);
        number.insert(0, total.size() - std::min(total.size(), number.size()), ' ');
        std::string status(to_name(attempt.outcome.status));
        status.resize(std::max<std::size_t>(status.size(), 8), ' ');
        const bool shown_again = attempt.decision != Decision::record;
        print("[" + number + "/" + total + "] " + coloured(attempt.outcome.status, status) + " " +
              describe(cell.cell) + ": " + in_short(attempt.outcome) +
              (shown_again && attempt.outcome.status != Status::interrupted
                   ? " (will be tried again)"
                   : "") +
              " (" + format_duration(static_cast<double>(attempt.elapsed_ms)) + ")");
    }

  protected:
    virtual void ended(int slot, const std::string& key) = 0;
    virtual std::string coloured(Status, const std::string& text) const { return text; }

    std::size_t total_ = 0;
    std::size_t done_ = 0;
    std::size_t failed_ = 0;
    EtaEstimator eta_;
};

class PlainDisplay final : public CountingDisplay {
  public:
    void cell_started(const PlannedCell&, int, int) override {}
    void cell_phase(int, std::string_view) override {}
    void print(const std::string& line) override { std::fprintf(stderr, "%s\n", line.c_str()); }

  protected:
    void ended(int, const std::string&) override {}
};

class TerminalDisplay final : public CountingDisplay {
  public:
    explicit TerminalDisplay(bool colours) : colours_(colours) {}

    void cell_started(const PlannedCell& cell, int slot, int attempt) override {
        running_[slot] = {
            cell.key,
            describe(cell.cell) + (attempt > 1 ? " (attempt " + std::to_string(attempt) + ")" : ""),
            "start", Clock::now()};
        draw();
    }
    void cell_phase(int slot, std::string_view phase) override {
        if (const auto found = running_.find(slot); found != running_.end()) {
            const bool is_new = found->second.phase != phase;
            found->second.phase = phase;
            if (is_new) draw();
        }
    }
    void print(const std::string& line) override {
        wipe();
        std::fprintf(stderr, "%s\n", line.c_str());
        draw();
    }
    void tick() override { draw(); }
    bool wants_ticks() const override { return true; }
    void end() override {
        running_.clear();
        wipe();
    }

  protected:
    void ended(int slot, const std::string& key) override {
        // The slot may already run the next cell: an end is told when it is durable.
        if (const auto found = running_.find(slot);
            found != running_.end() && found->second.key == key)
            running_.erase(found);
    }

    std::string coloured(Status status, const std::string& text) const override {
        if (!colours_) return text;
        const char* const colour = status == Status::ok ? "\x1b[32m"
                                   : is_failed(status)  ? "\x1b[31m"
                                                        : "\x1b[33m";
        return colour + text + "\x1b[0m";
    }

  private:
    struct Running {
        std::string key;
        std::string cell;
        std::string phase;
        Clock::time_point since;
    };

    void wipe() {
        if (drawn_) std::fputs("\r\x1b[K", stderr);
        drawn_ = false;
    }

    void draw() {
        if (running_.empty()) return;
        const Running& first = running_.begin()->second;
        const std::string before = "[" + std::to_string(done_) + "/" + std::to_string(total_) +
                                   "] " +
                                   (failed_ > 0 ? std::to_string(failed_) + " failed | " : "");
        std::string behind =
            " | " + first.phase + " " + format_duration(milliseconds_since(first.since));
        if (running_.size() > 1)
            behind += " | +" + std::to_string(running_.size() - 1) + " running";
        behind += " | elapsed " + format_duration(milliseconds_since(start_));
        if (const auto left = eta_.left_ms())
            behind += " | ETA " + format_duration(*left / static_cast<double>(running_.size()));
        winsize size{};
        const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
        const std::size_t width = known ? size.ws_col - 1U : 79U;
        // A line that wraps could not be wiped; of what is too long the cell's text is cut.
        const std::size_t others = before.size() + behind.size();
        std::string line =
            before + first.cell.substr(0, others < width ? width - others : 0) + behind;
        line.resize(std::min(line.size(), width));
        std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
        std::fflush(stderr);
        drawn_ = true;
    }

    bool colours_;
    bool drawn_ = false;
    Clock::time_point start_ = Clock::now();
    std::map<int, Running> running_;
};

}  // namespace

bool wants_colour(int descriptor) {
    const char* const no_colour = std::getenv("NO_COLOR");
    return ::isatty(descriptor) != 0 && (no_colour == nullptr || no_colour[0] == '\0');
}

bool is_live_terminal(int descriptor) {
    const char* const term = std::getenv("TERM");
    return ::isatty(descriptor) != 0 && term && std::string_view(term) != "dumb";
}

std::unique_ptr<StatusDisplay> make_status_display() {
    if (is_live_terminal(STDERR_FILENO))
        return std::make_unique<TerminalDisplay>(wants_colour(STDERR_FILENO));
    return std::make_unique<PlainDisplay>();
}

}  // namespace isosweep
