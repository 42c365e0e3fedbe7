#include "orchestrator/evidence.h"

#include <doctest/doctest.h>
#include <signal.h>

using namespace isosweep;

namespace {

Evidence worker_that(std::optional<ProcessEnd> end) {
    Evidence seen;
    seen.hello = seen.taken = true;
    seen.phase = "measure";
    seen.end = end;
    seen.limit = std::chrono::seconds(2);
    return seen;
}

Outcome ok() {
    Outcome outcome;
    outcome.status = Status::ok;
    return outcome;
}

Evidence killed(KilledFor reason) {
    Evidence seen = worker_that(Signaled{SIGKILL});
    seen.killed_for = reason;
    return seen;
}

}  // namespace

TEST_CASE("a clean result is the result's own status") {
    Evidence seen = worker_that(Exited{0});
    seen.results = {ok()};
    CHECK(classify(seen).status == Status::ok);
    CHECK(classify(seen).flags.empty());
    seen.end.reset();  // a shared worker goes on
    CHECK(classify(seen).status == Status::ok);
}

TEST_CASE("a result before an unclean end keeps its status and is flagged") {
    for (const auto& [end, flag] :
         {std::pair<ProcessEnd, const char*>{Signaled{SIGSEGV}, "dirty_exit:SIGSEGV"},
          {Exited{3}, "dirty_exit:3"}}) {
        Evidence seen = worker_that(end);
        seen.results = {ok()};
        CHECK(classify(seen).status == Status::ok);
        CHECK(classify(seen).flags == std::vector<std::string>{flag});
    }
    Evidence seen = killed(KilledFor::no_exit);
    seen.results = {ok()};
    CHECK(classify(seen).flags == std::vector<std::string>{"dirty_exit:no_exit"});
    CHECK(classify(seen).signal.empty());  // our own kill is no news
}

TEST_CASE("what breaks the protocol is invalid, whatever else happened") {
    Evidence twice = worker_that(Exited{0});
    twice.results = {ok(), ok()};
    CHECK(classify(twice).message == "the worker sent 2 results");
    Evidence long_line = worker_that(Signaled{SIGSEGV});
    long_line.broken_line = "a line of more than 16 MiB";
    CHECK(classify(long_line).status == Status::invalid_result);
    Evidence half = worker_that(Exited{0});
    half.partial_line = true;
    CHECK(classify(half).status == Status::invalid_result);
    half.end = Signaled{SIGKILL};  // it did not exit by itself: the crash is the cause
    CHECK(classify(half).status == Status::crash);
}

TEST_CASE("a time limit is a timeout that names the phase") {
    const Outcome outcome = classify(killed(KilledFor::no_result));
    CHECK(outcome.status == Status::timeout);
    CHECK(outcome.message == "no result within timeout = 2.0 s in phase measure");
    CHECK(outcome.phase == "measure");
    Evidence stalled = killed(KilledFor::stalled);
    stalled.hung = "the last sign of life was 2.0 s before, its main thread sleeps in futex";
    CHECK(classify(stalled).status == Status::timeout);
    CHECK(
        classify(stalled).message ==
        "no sign of life within stall-timeout = 2.0 s in phase measure; the last sign of life was "
        "2.0 s before, its main thread sleeps in futex");
    CHECK(classify(killed(KilledFor::no_hello)).status == Status::timeout);
    const Outcome closed = classify(killed(KilledFor::stdout_closed));
    CHECK(closed.status == Status::timeout);
    CHECK(closed.flags == std::vector<std::string>{"stdout_closed"});
}

TEST_CASE("death without a result: crash by a signal, error by a code, invalid by none") {
    Evidence seen = worker_that(Signaled{SIGSEGV});
    seen.last_words = "boom";
    CHECK(classify(seen).status == Status::crash);
    CHECK(classify(seen).signal == "SIGSEGV");
    CHECK(classify(seen).message == "ended by SIGSEGV in phase measure: boom");
    CHECK(classify(worker_that(Exited{9})).status == Status::error);
    CHECK(classify(worker_that(Exited{9})).exit_code == 9);
    CHECK(classify(worker_that(Exited{139})).status == Status::error);
    CHECK(classify(worker_that(Exited{0})).status == Status::invalid_result);
}

TEST_CASE("a SIGKILL is the want of memory only where the kernel counted one") {
    Evidence seen = worker_that(Signaled{SIGKILL});
    CHECK(classify(seen).status == Status::crash);
    seen.oom_killed = true;
    CHECK(classify(seen).status == Status::oom_host);
    CHECK(classify(seen).message == "killed for want of memory in phase measure");
    CHECK(classify(seen).signal == "SIGKILL");
    seen.behind_launcher = true;
    CHECK(classify(seen).status == Status::crash);
    Evidence other = worker_that(Signaled{SIGSEGV});
    other.oom_killed = true;
    CHECK(classify(other).status == Status::crash);
}

TEST_CASE("a worker over memory-limit is out of memory, with the limit named") {
    Evidence seen = worker_that(Signaled{SIGKILL});
    seen.oom_killed = true;
    seen.over_limit = 3 << 29;
    CHECK(classify(seen).status == Status::oom_host);
    CHECK(classify(seen).message ==
          "killed for want of memory in phase measure: over memory-limit = 1.50 GiB");
    // Before its hello no cell is to blame: the sweep stops where no worker can be started.
    seen.hello = seen.taken = false;
    CHECK(classify(seen).status == Status::spawn_failed);
    CHECK(classify(seen).message ==
          "the worker ended before its hello (SIGKILL): over memory-limit = 1.50 GiB");
    Evidence stopped = killed(KilledFor::user);
    stopped.oom_killed = true;
    stopped.over_limit = 1;
    CHECK(classify(stopped).status == Status::interrupted);
}

TEST_CASE("behind a launcher 128 + n is a signal") {
    Evidence seen = worker_that(Exited{139});
    seen.behind_launcher = true;
    CHECK(classify(seen).status == Status::crash);
    CHECK(classify(seen).signal == "SIGSEGV");
}

TEST_CASE("no hello is a failed spawn, and the user's kill an interruption") {
    Evidence seen;
    seen.spawn_error = "cannot start ./x: No such file or directory";
    CHECK(classify(seen).status == Status::spawn_failed);
    CHECK(classify(seen).message == seen.spawn_error);
    Evidence early;
    early.end = Exited{127};
    CHECK(classify(early).status == Status::spawn_failed);
    CHECK(classify(killed(KilledFor::user)).status == Status::interrupted);
}

TEST_CASE("a cell whose worker does not fit the sweep was not run") {
    CHECK(classify(killed(KilledFor::unfit)).status == Status::not_run);
    CHECK(classify(killed(KilledFor::unfit)).message == "its worker does not fit the sweep");
}
