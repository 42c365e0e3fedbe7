#include "orchestrator/policy.h"

#include <doctest/doctest.h>
#include <signal.h>

using namespace isosweep;

namespace {

const RetryRule usual = {{Status::crash, 1}, {Status::spawn_failed, 3}};

Outcome with(Status status) {
    Outcome outcome;
    outcome.status = status;
    return outcome;
}

Evidence taken() {
    Evidence seen;
    seen.hello = seen.taken = true;
    seen.end = Signaled{SIGSEGV};
    return seen;
}

}  // namespace

TEST_CASE("a crash is tried once more, then recorded") {
    CellHistory history;
    CHECK(decide(taken(), with(Status::crash), history, usual).decision == Decision::retry);
    history.pending = {{Decision::retry, Status::crash}};
    CHECK(decide(taken(), with(Status::crash), history, usual).decision == Decision::record);
    CHECK(decide(taken(), with(Status::crash), {}, {}).decision == Decision::record);
}

TEST_CASE("what is a finding is recorded at once") {
    for (const Status status : {Status::ok, Status::oom_gpu, Status::timeout, Status::error})
        CHECK(decide(taken(), with(status), {}, usual).decision == Decision::record);
}

TEST_CASE("a failed spawn is tried three times, each later than the one before") {
    Evidence seen;
    seen.end = Exited{127};
    CellHistory history;
    std::chrono::milliseconds last{0};
    for (int i = 0; i < 3; ++i) {
        const NextStep step = decide(seen, with(Status::spawn_failed), history, usual);
        CHECK(step.decision == Decision::retry);
        CHECK(step.delay > last);
        last = step.delay;
        history.pending.push_back({Decision::retry, Status::spawn_failed});
    }
    CHECK(decide(seen, with(Status::spawn_failed), history, usual).decision == Decision::record);
}

TEST_CASE("a worker that dies before it took the request costs no attempt, but not for ever") {
    Evidence seen = taken();
    seen.taken = false;
    CellHistory history;
    for (int i = 0; i < 3; ++i) {
        CHECK(decide(seen, with(Status::crash), history, usual).decision == Decision::again);
        history.pending.push_back({Decision::again, Status::crash});
    }
    CHECK(decide(seen, with(Status::crash), history, usual).decision == Decision::record);
}

TEST_CASE("a shared worker that hung before the request does not cost the next cell an attempt") {
    Evidence seen = taken();
    seen.taken = false;
    seen.killed_for = KilledFor::no_result;
    CHECK(decide(seen, with(Status::timeout), {}, usual).decision == Decision::record);
    seen.reused = true;
    CHECK(decide(seen, with(Status::timeout), {}, usual).decision == Decision::again);
    seen.killed_for = KilledFor::stalled;
    CHECK(decide(seen, with(Status::timeout), {}, usual).decision == Decision::again);
}

TEST_CASE("an interruption never counts") {
    CHECK(decide(taken(), with(Status::interrupted), {}, usual).decision == Decision::again);
    Evidence unfit = taken();
    unfit.killed_for = KilledFor::unfit;
    CHECK(decide(unfit, with(Status::not_run), {}, usual).decision == Decision::again);
}
