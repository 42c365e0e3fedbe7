#include "orchestrator/foreground.h"

#include <signal.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

namespace isosweep {

Outcome run_in_foreground(WorkerCommand worker, const Slot& slot, const Cell& cell) {
    worker.stderr_to_terminal = true;
    boost::asio::io_context io;
    Outcome outcome;
    WorkerSession::Hooks hooks;
    hooks.on_spawn = [](const Process&) {};
    hooks.on_hello = [](const boost::json::object&) {};
    hooks.on_phase = [](const Job&, std::string_view) {};
    hooks.on_attempt_end = [&](const Job&, const Evidence& seen) { outcome = classify(seen); };
    hooks.on_end = [&] { io.stop(); };
    const auto session = std::make_shared<WorkerSession>(io, worker, std::move(hooks));
    boost::asio::signal_set signals(io, SIGINT, SIGTERM, SIGHUP);
    signals.async_wait([&](const boost::system::error_code& problem, int) {
        if (!problem) session->abort();
    });
    const std::string token = random_token();
    session->start({key_of(cell), 1, {random_token(), to_json(cell)}, "/dev/null"}, token,
                   worker_environment(token, slot), slot.placement);
    try {
        io.run();
    } catch (...) {
        session->discard();
        throw;
    }
    return outcome;
}

}  // namespace isosweep
