#include <doctest/doctest.h>
#include <isosweep/stopping.h>

#include <vector>

using namespace isosweep;

namespace {

using Times = std::vector<double>;
using Counts = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("warming up goes on until times and allocator are steady") {
    const Times steady = {900, 130, 110, 100, 100.5, 99.8, 100.2, 100};
    CHECK(warmup_is_steady(steady, {}, 1640));
    CHECK_FALSE(warmup_is_steady(steady, {}, 499));
    CHECK_FALSE(warmup_is_steady(Times{900, 130, 110, 100, 100.5, 99.8}, {}, 1440));
    CHECK_FALSE(warmup_is_steady(Times{100, 100, 100, 100, 100}, {}, 500));
    CHECK(warmup_is_steady(Times{100, 100, 100, 100, 100, 100}, {}, 600));
    CHECK_FALSE(warmup_is_steady({}, {}, 0));
}

TEST_CASE("a device allocation within the last three steps is not steady") {
    const Times steady(6, 100.0);
    CHECK(warmup_is_steady(steady, Counts{5, 9, 12, 12, 12, 12}, 600));
    CHECK_FALSE(warmup_is_steady(steady, Counts{5, 9, 9, 12, 12, 12}, 600));
    CHECK_FALSE(warmup_is_steady(steady, Counts{12, 12, 12}, 600));
}

TEST_CASE("warming up ends at 50 steps or 30 s") {
    CHECK_FALSE(warmup_must_stop(Times(49, 1.0), 49));
    CHECK(warmup_must_stop(Times(50, 1.0), 50));
    CHECK(warmup_must_stop(Times(2, 15e3), 30e3));
}

TEST_CASE("measuring stops once the median is known, or at a cap") {
    const Times calm(10, 250.0);
    CHECK(should_stop(calm, 2500) == StopReason::converged);
    CHECK_FALSE(should_stop(calm, 1999));
    CHECK_FALSE(should_stop(Times(9, 250.0), 2250));
    CHECK_FALSE(should_stop({}, 0));

    Times noisy;
    for (int i = 0; i < 199; ++i) noisy.push_back(i % 2 == 0 ? 90 : 110);
    CHECK_FALSE(should_stop(noisy, 20e3));
    CHECK(should_stop(noisy, 60e3) == StopReason::time_cap);
    noisy.push_back(110);
    CHECK(should_stop(noisy, 20e3) == StopReason::step_cap);
    // One step that is longer than the cap.
    CHECK(should_stop(Times{61e3}, 61e3) == StopReason::time_cap);
    CHECK(to_name(StopReason::step_cap) == "step_cap");
}
