#include "orchestrator/launcher.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <fstream>

#include "orchestrator/evidence.h"
#include "orchestrator/policy.h"
#include "temp_folder.h"

using namespace isosweep;
using Words = std::vector<std::string>;

namespace {

const LaunchTraits slurm = traits_of({"srun", "-n1"});

/// The outcome of a worker behind srun that ended so, with no result, and with these lines.
Outcome outcome_of(const std::string& printed, const ProcessEnd& end,
                   KilledFor killed_for = KilledFor::nothing) {
    Evidence seen;
    seen.hello = seen.taken = true;
    seen.behind_launcher = true;
    seen.killed_for = killed_for;
    seen.end = end;
    const LauncherVerdict verdict = read_verdict(slurm, printed, end, false);
    seen.taken_away = verdict.taken_away;
    seen.launcher_oom = verdict.out_of_memory;
    return classify(seen);
}

}  // namespace

TEST_CASE("the prefix's program decides who launches") {
    CHECK(traits_of({}).kind == LauncherKind::none);
    CHECK(traits_of({"numactl", "srun"}).kind == LauncherKind::plain);
    CHECK(traits_of({"/opt/slurm/bin/srun"}).kind == LauncherKind::slurm);
    CHECK(traits_of({"numactl"}).ties.death_signal == SIGKILL);
    CHECK(slurm.ties.death_signal == SIGTERM);
    CHECK(slurm.ties.own_session);
    CHECK(launched_argv({"srun", "-n1", "w"}, slurm, "7f") ==
          Words{"srun", "--job-name=7f", "-n1", "w"});
    CHECK(launched_argv({"nice", "w"}, traits_of({"nice"}), "7f") == Words{"nice", "w"});
}

TEST_CASE("auto is cuda behind a cluster's launcher that asks for GPUs") {
    CHECK(asks_for_gpu({"srun", "-n1", "--gpus-per-task=1"}));
    CHECK(asks_for_gpu({"srun", "--gres=gpu:1"}));
    CHECK(asks_for_gpu({"srun", "-G1"}));
    CHECK_FALSE(asks_for_gpu({"srun", "-N1", "--mem=4G"}));
}

// The lines are what Slurm 22.05.8 printed.
TEST_CASE("what the cluster takes away is interrupted, with the reason") {
    struct Row {
        const char* printed;
        ProcessEnd end;
        const char* reason;
    };
    for (const Row& row : {
             Row{"srun: Job step aborted: Waiting up to 4 seconds for job step to finish.\n"
                 "slurmstepd-n1: error: *** STEP 5.0 ON n1 CANCELLED AT 2026-11-25T03:59:17 ***\n"
                 "srun: error: n1: task 0: Terminated\n",
                 Exited{143}, "cancelled"},
             Row{"srun: Job step aborted: Waiting up to 4 seconds for job step to finish.\n"
                 "srun: error: n1: task 0: Terminated\n",
                 Exited{143}, "cancelled"},
             Row{"slurmstepd-n1: error: *** STEP 133.0 ON n1 CANCELLED AT 2026-11-22T20:00:00 DUE "
                 "TO TIME LIMIT ***\n",
                 Exited{143}, "the cluster's time limit was reached"},
             Row{"slurmstepd-n1: error: *** STEP 133.0 ON n1 CANCELLED AT 2026-11-22T20:00:00 DUE "
                 "TO PREEMPTION ***\n",
                 Exited{137}, "preempted"},
             Row{"slurmstepd-n1: error: *** STEP 133.0 ON n1 CANCELLED AT 2026-11-22T20:00:00 DUE "
                 "TO NODE FAILURE ***\n",
                 Exited{0}, "its node failed"},
             Row{"srun: error: Node failure on n1\n", Exited{0}, "its node failed"},
             Row{"srun: Job has been cancelled\n", Exited{1}, "cancelled"},
             Row{"srun: error: Job allocation 17 has been revoked\n", Exited{1}, "cancelled"},
             Row{"", Exited{0}, "it ended with exit code 0 and no result"},
         }) {
        CAPTURE(row.printed);
        const Outcome outcome = outcome_of(row.printed, row.end);
        CHECK(outcome.status == Status::interrupted);
        CHECK(outcome.message == std::string("taken away by the cluster: ") + row.reason);
    }
    Evidence waiting;
    waiting.end = Exited{1};
    waiting.taken_away = "cancelled";
    CHECK(classify(waiting).status == Status::interrupted);
}

TEST_CASE("what the worker did itself stays its own behind srun") {
    CHECK(outcome_of("srun: error: n2: task 0: Segmentation fault\n", Exited{139}).signal ==
          "SIGSEGV");
    CHECK(outcome_of("srun: error: n2: task 0: Killed\n", Exited{137}).status == Status::crash);
    CHECK(outcome_of("srun: error: n1: task 0: Exited with exit code 7\n", Exited{7}).status ==
          Status::error);
    // The worker's own words are not Slurm's.
    CHECK(outcome_of("CANCELLED AT noon; Node failure on my desk\n", Exited{7}).status ==
          Status::error);
    CHECK(outcome_of("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0\n"
                     "srun: error: n1: task 0: Out Of Memory\n",
                     Exited{1})
              .status == Status::oom_host);
    CHECK(outcome_of("slurmstepd-n1: error: Step 9.0 exceeded memory limit (90 > 64), being "
                     "killed\nslurmstepd-n1: error: *** STEP 9.0 ON n1 CANCELLED AT X ***\n",
                     Exited{137})
              .status == Status::oom_host);
    // What we end is cancelled, too: the reason for it stands.
    CHECK(outcome_of("slurmstepd-n1: error: *** STEP 5.0 ON n1 CANCELLED AT X ***\n", Exited{137},
                     KilledFor::no_result)
              .status == Status::timeout);
    CHECK(read_verdict(slurm, "", Exited{0}, true).taken_away.empty());
    CHECK(read_verdict(traits_of({"env"}), "srun: error: Node failure on n1\n", Exited{0}, false)
              .taken_away.empty());
}

TEST_CASE("what the cluster took away is run again three times, later and later") {
    Evidence seen;
    seen.hello = true;
    seen.end = Exited{0};
    seen.taken_away = "preempted";
    const Outcome outcome = classify(seen);
    CellHistory history;
    for (const int seconds : {1, 2, 4}) {
        const NextStep step = decide(seen, outcome, history, {});
        CHECK(step.decision == Decision::again);
        CHECK(step.in_this_run);
        CHECK(step.delay == std::chrono::seconds(seconds));
        history.pending.push_back({Decision::again, Status::interrupted});
    }
    CHECK(decide(seen, outcome, history, {}).decision == Decision::again);
    CHECK_FALSE(decide(seen, outcome, history, {}).in_this_run);
}

TEST_CASE("a task in the cluster is known by its token") {
    const tests::TempFolder folder;
    std::ofstream(folder / "journal.jsonl") << R"({"record":"header","schema":1}
{"record":"worker","token":"aa11","pid":1,"start_time":2,"slot":0}
{"record":"worker","token":"bb22","pid":3,"start_time":4,"slot":0,"origin":"cc33"}
)";
    const Journal journal = Journal::read(folder / "journal.jsonl");
    CHECK(tasks_of(journal, "17 aa11\n18 bash\n19 bb22\n17.3 aa11\n\n") ==
          std::vector<ClusterTask>{{"17", "aa11"}, {"17.3", "aa11"}});
}
