#include "serve.h"

#include <isosweep/build_info.h>
#include <isosweep/nvml.h>
#include <isosweep/protocol.h>
#include <torch/version.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

#include "device.h"
#include "host.h"
#include "probe.h"
#include "run_cell.h"

namespace isosweep {
namespace {

namespace json = boost::json;

/// Lines of a file descriptor, one at a time, as they come.
class LineReader {
  public:
    explicit LineReader(int fd) : fd_(fd) {}

    /// The next line without its '\n' (the last may lack it), nothing at the end. Waits.
    std::optional<std::string> next() {
        for (std::size_t searched = 0;;) {
            if (const auto end = buffer_.find('\n', searched); end != std::string::npos) {
                std::string line = buffer_.substr(0, end);
                buffer_.erase(0, end + 1);
                return line;
            }
            if (buffer_.size() > protocol::max_line_bytes)
                throw std::runtime_error("a request longer than 16 MiB");
            searched = buffer_.size();
            if (read_more()) continue;
            if (buffer_.empty()) return std::nullopt;
            return std::exchange(buffer_, {});
        }
    }

  private:
    /// \returns false at the end
    bool read_more() {
        std::array<char, 65536> chunk;
        ssize_t size = 0;
        do {
            size = ::read(fd_, chunk.data(), chunk.size());
        } while (size < 0 && errno == EINTR);
        if (size < 0) throw std::system_error(errno, std::generic_category(), "reading requests");
        buffer_.append(chunk.data(), static_cast<std::size_t>(size));
        return size > 0;
    }

    int fd_;
    std::string buffer_;
};

/// Said before CUDA is touched, so that it comes at once.
std::string hello() {
    json::object facts{{"pid", ::getpid()},
                       {"torch", TORCH_VERSION},
                       {"build", build_id()},
                       {"cuda", cuda::is_built_in()}};
    if (cuda::is_built_in()) facts["prepares"] = json::array{"driver", "context"};
    if (const auto age = host::process_age_ms()) facts["start_ms"] = *age;
    return protocol::hello_line(std::move(facts));
}

/// Does ahead what the next request needs. What goes wrong goes wrong again with the request, which
/// can be answered.
void prepare(std::string_view part) {
    if (part != "driver" && part != "context") return;
    // Keeps the library loaded that tells of clocks and power; of no GPU yet.
    static const GpuObserver keeper{std::string()};
    try {
        // The first question loads the driver, which takes nothing of the device yet.
        if (cuda::is_usable() && part == "context") cuda::initialize();
    } catch (const std::exception& problem) {
        std::cerr << "isosweep-worker: no " << part << " ahead: " << one_line(problem.what())
                  << "\n";
    }
}

/// The cell of a request. \throws BadValue
Cell cell_of(const json::object& object) {
    const Cell cell = cell_from_json(object);
    if (find_model_config(cell.model_size)) return cell;
    for (const auto* dimension : {"d_model", "d_ff", "num_layers", "num_heads"})
        if (!object.contains(dimension))
            throw BadValue("model_size = " + cell.model_size +
                           ": not known here, and the request has no " + dimension);
    return cell;
}

CellResult answer(const protocol::Request& request, ResultOutput& replies) {
    const auto tell = [&](std::string_view phase) {
        replies.write(protocol::phase_line(request.nonce, phase));
    };
    if (!request.probe.empty()) return run_probe(request.probe, tell);
    try {
        const Cell cell = cell_of(request.cell);
        return run_cell(cell, tell);
    } catch (const BadValue& problem) {
        tell("build");
        return {Status::error, {}, {{"phase", "build"}, {"message", problem.what()}}, {}};
    }
}

}  // namespace

int serve(ResultOutput& replies) {
    replies.set_last_words({});
    replies.write(hello());
    LineReader requests(STDIN_FILENO);
    while (const auto line = requests.next()) {
        if (trim(*line).empty()) continue;
        const protocol::Request request = protocol::parse_request(*line);
        if (!request.prepare.empty()) {
            prepare(request.prepare);
            continue;
        }
        replies.set_last_words(protocol::failure_line(
            request.nonce, Status::error,
            {{"message", "the worker was terminated by an exception it could not handle"}}));
        const CellResult result = answer(request, replies);
        replies.set_last_words({});
        replies.write(result.line(request.nonce));
        if (result.status == Status::crash) return 1;
    }
    return 0;
}

}  // namespace isosweep
