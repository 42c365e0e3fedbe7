#include "orchestrator/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <mutex>

#include "orchestrator/errors.h"

namespace isosweep::log {
namespace {

/// Hands lines of level warn and of notices to whoever owns the terminal.
class TerminalSink final : public spdlog::sinks::base_sink<std::mutex> {
  public:
    std::function<void(const std::string&)> write;

  protected:
    void sink_it_(const spdlog::details::log_msg& message) override {
        const std::string text(message.payload.data(), message.payload.size());
        const std::string line = message.level == spdlog::level::warn ? "warning: " + text : text;
        if (write)
            write(line);
        else
            std::fprintf(stderr, "%s\n", line.c_str());
    }
    void flush_() override {}
};

std::shared_ptr<TerminalSink> terminal_sink() {
    static const auto sink = std::make_shared<TerminalSink>();
    return sink;
}

spdlog::logger& logger() {
    static spdlog::logger instance = [] {
        auto sink = terminal_sink();
        sink->set_level(spdlog::level::info);
        spdlog::logger made("isosweep", sink);
        made.set_level(spdlog::level::trace);
        made.flush_on(spdlog::level::trace);
        return made;
    }();
    return instance;
}

}  // namespace

void open(const std::filesystem::path& file) try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string());
    sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %v");
    logger().sinks().push_back(std::move(sink));
} catch (const spdlog::spdlog_ex& problem) {
    throw ResultsError(std::string("cannot write the log: ") + problem.what());
}

void set_terminal(std::function<void(const std::string&)> write) {
    terminal_sink()->write = std::move(write);
}

// Debug lines go to the file alone, since the terminal takes info and above.
void info(const std::string& line) { logger().debug("{}", line); }
void notice(const std::string& line) { logger().info("{}", line); }
void warning(const std::string& line) { logger().warn("{}", line); }

std::string library_versions() {
    return "spdlog " + std::to_string(SPDLOG_VER_MAJOR) + "." + std::to_string(SPDLOG_VER_MINOR) +
           "." + std::to_string(SPDLOG_VER_PATCH) + ", fmt " + std::to_string(FMT_VERSION / 10000) +
           "." + std::to_string(FMT_VERSION / 100 % 100) + "." + std::to_string(FMT_VERSION % 100);
}

}  // namespace isosweep::log
