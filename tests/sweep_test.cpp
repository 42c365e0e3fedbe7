// The whole program: real processes, real files, its exit codes and its words.
#include <doctest/doctest.h>
#include <signal.h>

#include <filesystem>

#include "orchestrator/journal.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

/// Whether this machine lets us limit a worker; told where it does not.
bool can_limit_memory() {
    Sandbox sandbox("axis.behaviour = ok\nmemory-limit = 200MiB\n");
    const Ran ran = sandbox.sweep();
    if (ran.exit_code != 5) return true;
    CHECK(contains(ran.err, "memory-limit = 200 MiB: this machine lets us limit no worker"));
    MESSAGE("left out: " << ran.err);
    return false;
}

/// Whether a process ends before long: gone, or a zombie that nobody has reaped yet.
bool is_gone(pid_t pid) {
    for (int i = 0; i < 40; ++i) {
        const std::string stat = file_contents("/proc/" + std::to_string(pid) + "/stat");
        if (stat.empty() || contains(stat, ") Z ")) return true;
        ::usleep(5'000);
    }
    return false;
}

}  // namespace

TEST_SUITE_BEGIN("sweep");

TEST_CASE("a worker without a sign of life is ended by stall-timeout, a lively one is not") {
    Sandbox sandbox("axis.behaviour = hang, lively\nstall-timeout = 500ms\n");
    CHECK(sandbox.sweep().exit_code == 1);
    CHECK(sandbox.column("status") == "timeout ok");
    const std::string message = sandbox.column("message");
    CHECK(contains(message,
                   "no sign of life within stall-timeout = 0.5 s in phase measure; the last"));
    CHECK(contains(message, "its main thread sleeps"));
}

TEST_CASE("every way a worker can behave has its outcome, alone and in a shared sweep") {
    const std::pair<const char*, const char*> cases[] = {
        {"ok", "ok"},
        {"garbage", "ok"},
        {"chatty", "ok"},
        {"grandchild", "ok"},
        {"other_nonce", "ok"},
        {"crash:11", "crash"},
        {"crash:6", "crash"},
        {"crash:9", "crash"},
        {"crash:4", "crash"},
        {"crash:7", "crash"},
        {"crash:8", "crash"},
        {"crash:15", "crash"},
        {"exit:3", "error"},
        {"exit:0", "invalid_result"},
        {"report:oom_gpu", "oom_gpu"},
        {"report:oom_host", "oom_host"},
        {"report:unsupported", "unsupported"},
        {"report:error", "error"},
        {"report:timeout", "invalid_result"},
        {"half_line", "invalid_result"},
        {"half_line_crash", "crash"},
        {"result_twice", "invalid_result"},
        {"nan", "invalid_result"},
        {"negative", "invalid_result"},
        {"zero", "invalid_result"},
        {"too_few", "invalid_result"},
        {"no_samples", "invalid_result"},
        {"unknown_status", "invalid_result"},
        {"huge_line", "invalid_result"},
        {"hang", "timeout"},
        {"silent", "timeout"},
        {"ignore_term", "timeout"},
        {"close_stdout", "timeout"},
        {"result_then_crash", "ok"},
        {"result_then_exit", "ok"},
        {"result_then_hang", "ok"},
        {"crash_untaken", "crash"},
    };
    std::string behaviours;
    std::string expected;
    for (const auto& [behaviour, status] : cases) {
        behaviours += (behaviours.empty() ? "" : ", ") + std::string(behaviour);
        expected += (expected.empty() ? "" : " ") + std::string(status);
    }
    for (const char* isolation : {"process", "shared"}) {
        CAPTURE(isolation);
        Sandbox sandbox("axis.behaviour = " + behaviours +
                        "\nretry = spawn_failed:1\nisolation = " + isolation);
        const Ran ran = sandbox.sweep({"--timeout", "1s"});
        CHECK(ran.exit_code == 1);
        CHECK(sandbox.column("status") == expected);
    }
}

TEST_CASE("a result before a bad end keeps its status and is flagged") {
    Sandbox sandbox("axis.behaviour = ok, result_then_crash, result_then_exit, result_then_hang\n");
    CHECK(sandbox.sweep().exit_code == 0);
    const Table table = read_csv(sandbox.path("results/x.csv").string());
    const char* const flags[] = {"", "dirty_exit:SIGSEGV", "dirty_exit:3", "dirty_exit:no_exit"};
    for (std::size_t row = 0; row < 4; ++row)
        CHECK(std::get<std::string>(table.at(row, "flags")) == flags[row]);
    CHECK(sandbox.column("mean_time_ms") == "1.625 1.625 1.625 1.625");
}

TEST_CASE("the same command again runs only what is missing") {
    Sandbox sandbox("axis.behaviour = ok, report:oom_gpu, slow:10\n");
    CHECK(sandbox.sweep().exit_code == 0);
    const std::string csv = sandbox.file("results/x.csv");
    CHECK(sandbox.answers() == 3);
    const Ran again = sandbox.sweep();
    CHECK(again.exit_code == 0);
    CHECK(sandbox.answers() == 3);
    CHECK(sandbox.file("results/x.csv") == csv);
    CHECK(sandbox.sweep({"--context-length", "64,512"}).exit_code == 0);
    CHECK(sandbox.answers() == 6);
    const Ran less = sandbox.sweep();
    CHECK(contains(less.err, "3 recorded cells outside this plan, kept in the journal"));
}

TEST_CASE("retry runs just the cells with these outcomes, and a later success clears the error") {
    Sandbox sandbox("axis.behaviour = ok, crash_once, report:oom_gpu\nretry = none\n");
    CHECK(sandbox.sweep().exit_code == 1);
    CHECK(sandbox.column("status") == "ok crash oom_gpu");
    const Ran retried = sandbox.run({"retry", "x.cfg", "--status", "crash,timeout"});
    CHECK(retried.exit_code == 0);
    CHECK(sandbox.column("status") == "ok ok oom_gpu");
    CHECK(sandbox.column("attempts") == "1 2 1");
    CHECK(sandbox.column("failed_attempts") == "0 1 1");
    CHECK(sandbox.answers() == 3);
}

TEST_CASE("a crash is tried once more by default") {
    Sandbox sandbox("axis.behaviour = crash\n");
    CHECK(sandbox.sweep().exit_code == 1);
    CHECK(sandbox.column("attempts") == "2");
    CHECK(sandbox.column("signal") == "SIGSEGV");
    const std::string logs = "results/x/cells/" + sandbox.column("key") + "/repro.sh";
    CHECK(std::filesystem::exists(sandbox.path(logs)));
    Sandbox lucky("axis.behaviour = crash_once\n");
    CHECK(lucky.sweep().exit_code == 0);
    CHECK(lucky.column("status") == "ok");
}

TEST_CASE("what a worker prints is in the cell's log, and its last words in the row") {
    Sandbox sandbox("axis.behaviour = garbage, chatty\n");
    CHECK(sandbox.sweep().exit_code == 0);
    const std::string folder = "results/x/cells/";
    std::string keys = sandbox.column("key");
    const std::string garbage = keys.substr(0, 16);
    CHECK(contains(sandbox.file(folder + garbage + "/attempt-1.log"), "some library says hello\n"));
    CHECK(sandbox.column("noise_lines") == "3 0");
    const std::string chatty = sandbox.file(folder + keys.substr(17) + "/attempt-1.log");
    CHECK(chatty.size() > 2'000'000);
    CHECK(contains(chatty, " bytes left out ...]"));
    CHECK(contains(chatty, "\n2999 xxx"));
}

TEST_CASE("the environment of a run is kept beside its log, without secrets") {
    Sandbox sandbox("axis.behaviour = ok\n");
    sandbox.set_variable("MY_API_TOKEN=hunter2");
    sandbox.set_variable("PIP_INDEX_URL=https://me:hunter2@host/simple");
    sandbox.set_variable("OMP_NUM_THREADS=3");
    CHECK(sandbox.sweep().exit_code == 0);
    std::string text;
    for (const auto& entry : std::filesystem::directory_iterator(sandbox.path("results/x/logs")))
        if (entry.path().filename().string().starts_with("environment-"))
            text += file_contents(entry.path());
    CHECK(contains(text, "\nOMP_NUM_THREADS=3\n"));
    CHECK(contains(text, "MY_API_TOKEN=***\n"));
    CHECK(contains(text, "PIP_INDEX_URL=***\n"));
    CHECK_FALSE(contains(text, "hunter2"));
}

TEST_CASE("a cell that is not ok gets a script that repeats it") {
    Sandbox sandbox("axis.behaviour = exit:3\n");
    sandbox.set_variable("OMP_NUM_THREADS=3");
    sandbox.set_variable("TORCH_TOKEN=x");
    sandbox.sweep();
    const std::string script = "results/x/cells/" + sandbox.column("key") + "/repro.sh";
    CHECK(contains(sandbox.file(script), "\"behaviour\":\"exit:3\""));
    CHECK(sandbox.wait(sandbox.start_program({"/bin/sh", script})).exit_code == 3);
    const std::string folder = "results/x/cells/" + sandbox.column("key");
    CHECK(contains(sandbox.file(folder + "/request.json"), "\"behaviour\":\"exit:3\""));
    CHECK(contains(sandbox.file(script), "\nexport OMP_NUM_THREADS=3\n"));
    CHECK_FALSE(contains(sandbox.file(script), "TORCH_TOKEN"));
}

TEST_CASE(
    "a worker that dies before its hello is a failed spawn and is run again by the same command") {
    Sandbox sandbox("axis.behaviour = ok\nretry = spawn_failed:1\n");
    sandbox.set_variable("FAKE_WORKER_START=dies");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 1);
    CHECK(sandbox.column("status") == "spawn_failed");
    CHECK(contains(sandbox.column("error"), "cannot find a library"));
    CHECK(sandbox.column("attempts") == "0");
    sandbox.set_variable("FAKE_WORKER_START=");
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("status") == "ok");
}

TEST_CASE("a sweep in which no worker starts stops after three cells and says so once") {
    Sandbox sandbox("context-length = 1..50\nretry = spawn_failed:0\n");
    sandbox.set_variable("FAKE_WORKER_START=dies");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 5);
    CHECK(contains(
        ran.err,
        "no worker can be started; the last of 3 cells ended with: the worker ended before "
        "its hello (exit code 127): cannot find a library"));
    const Journal journal = Journal::read(sandbox.path("results/x/journal.jsonl"));
    CHECK(journal.cells().size() == 3);
    // Nothing of it is held against the cells.
    sandbox.set_variable("FAKE_WORKER_START=");
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK_FALSE(contains(sandbox.column("status"), "spawn_failed"));
}

TEST_CASE("the time for which a sweep is stopped does not count against a cell") {
    Sandbox sandbox("axis.behaviour = slow:1200\nstall-timeout = 1500ms\n");
    const pid_t pid = sandbox.start({"run", "x.cfg", "--timeout", "1500ms"});
    // Not before it listens to signals.
    sandbox.wait_until(
        [&] { return contains(sandbox.file("results/x/journal.jsonl"), R"("record":"start")"); });
    // It has its request, and has told a phase.
    sandbox.wait_until([&] {
        ::kill(pid, SIGUSR1);
        return contains(sandbox.file("err.txt"), "phase measure");
    });
    ::kill(pid, SIGSTOP);
    sandbox.wait_until([&] { return sandbox.answers() == 1; });
    std::this_thread::sleep_for(std::chrono::milliseconds(1000));
    ::kill(pid, SIGCONT);
    CHECK(sandbox.wait(pid).exit_code == 0);
    CHECK(sandbox.column("status") == "ok");
}

TEST_CASE("SIGUSR1 tells how far a sweep is") {
    Sandbox sandbox("axis.behaviour = ok, slow:1500\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until([&] { return sandbox.answers() == 1; });
    sandbox.wait_until([&] {
        ::kill(pid, SIGUSR1);
        return contains(sandbox.file("err.txt"), "slow:1500, phase measure, for");
    });
    CHECK(contains(sandbox.file("err.txt"), "1 of 2 cells done in this run, 0 failed"));
    CHECK(sandbox.wait(pid).exit_code == 0);
}

TEST_CASE("no hello in time is a timeout") {
    Sandbox sandbox("axis.behaviour = ok\nstart-timeout = 200ms\n");
    sandbox.set_variable("FAKE_WORKER_START=no_hello");
    CHECK(sandbox.sweep().exit_code == 1);
    CHECK(sandbox.column("status") == "timeout");
}

TEST_CASE("a worker of another protocol ends the sweep") {
    Sandbox sandbox("axis.behaviour = ok\n");
    sandbox.set_variable("FAKE_WORKER_START=protocol_2");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 5);
    CHECK(contains(ran.err, "speaks protocol 2, this program speaks 1"));
    CHECK(sandbox.column("status") == "not_run");  // the CSV is written, whatever ends a run
}

TEST_CASE("a sweep begun with something else is refused with both named") {
    Sandbox sandbox("axis.behaviour = ok, slow:1\n");
    CHECK(sandbox.sweep().exit_code == 0);
    const Ran shared = sandbox.sweep({"--isolation", "shared"});
    CHECK(shared.exit_code == 2);
    CHECK(contains(shared.err, "begun with isolation 'process', now it is 'shared'"));
    sandbox.set_variable("FAKE_WORKER_START=newer");
    const Ran build = sandbox.sweep({"--context-length", "8"});
    CHECK(build.exit_code == 2);
    CHECK(contains(build.err, "begun with worker build 'fake', now it is 'newer'"));
    CHECK(contains(build.err, "--allow-mixed"));
    CHECK(sandbox.sweep({"--fresh"}).exit_code == 0);
    CHECK(sandbox.column("worker_build") == "newer newer");
}

TEST_CASE(
    "--allow-mixed goes on with something else, and each row says what it was measured with") {
    Sandbox sandbox("axis.behaviour = ok\n");
    CHECK(sandbox.sweep({"--context-length", "8"}).exit_code == 0);
    sandbox.set_variable("FAKE_WORKER_START=newer");
    CHECK(sandbox.sweep({"--context-length", "8,16", "--allow-mixed"}).exit_code == 0);
    CHECK(sandbox.column("worker_build") == "fake newer");
    const Ran shared =
        sandbox.sweep({"--context-length", "8,16,32", "--isolation", "shared", "--allow-mixed"});
    CHECK(shared.exit_code == 0);
    CHECK(contains(shared.err, "goes on with another isolation: 'shared' instead of 'process'"));
    CHECK(sandbox.column("isolation") == "process process shared");
    CHECK(sandbox.column("worker_build") == "fake newer newer");
    // What counts from now on is the latest.
    CHECK(sandbox.sweep({"--context-length", "8,16,64", "--isolation", "shared"}).exit_code == 0);
    CHECK(
        contains(sandbox.sweep({"--context-length", "128"}).err, "begun with isolation 'shared'"));
}

TEST_CASE("a GPU's matrix product is measured once, before the cells, in a worker of its own") {
    for (const std::string isolation : {"process", "shared"}) {
        CAPTURE(isolation);
        const auto sandbox =
            Sandbox::with_gpu("axis.behaviour = ok, gpu\nprecision = fp32, bf16\n");
        const auto sweep = [&](std::vector<std::string> flags) {
            flags.insert(flags.end(), {"--isolation", isolation});
            return sandbox->sweep(std::move(flags)).exit_code;
        };
        CHECK(sweep({"--device", "cpu"}) == 0);
        CHECK(sweep({"--passes", "none", "--fresh"}) == 0);
        CHECK(sandbox->file("probed").empty());
        CHECK(sweep({"--precision", "bf16"}) == 0);
        CHECK(sandbox->file("probed") == "bf16 ");
        CHECK(sweep({}) == 0);
        CHECK(sandbox->file("probed") == "bf16 fp32 ");
        CHECK(sandbox->column("status") == "ok ok ok ok");
        CHECK(contains(sandbox->column("gpu_seen"), "GPU-fake-0"));
        CHECK(sweep({"--context-length", "64"}) == 0);
        CHECK(sandbox->file("probed") == "bf16 fp32 ");
        const Journal journal = Journal::read(sandbox->path("results/x/journal.jsonl"));
        CHECK(journal.attainable_tflops("GPU-fake-0", Precision::bf16) == 733.0);
        CHECK(journal.attainable_tflops("GPU-fake-0", Precision::fp32) == 733.0);
        CHECK_FALSE(journal.attainable_tflops("GPU-fake-0", Precision::tf32).has_value());
    }
}

TEST_CASE("a probe that fails harms no cell and is tried again by the next run") {
    const auto sandbox = Sandbox::with_gpu("axis.behaviour = ok\n");
    sandbox->set_variable("FAKE_WORKER_PROBE=fail");
    const Ran failed = sandbox->sweep();
    CHECK(failed.exit_code == 0);
    CHECK(contains(failed.err,
                   "the fp32 matrix product of GPU-fake-0 was not measured, the next run tries "
                   "again: oom_gpu: no room\n"));
    CHECK(sandbox->column("status") == "ok");
    CHECK(sandbox->column("attempts") == "1");
    sandbox->set_variable("FAKE_WORKER_PROBE=hang");
    const Ran late = sandbox->sweep({"--context-length", "64", "--timeout", "300ms"});
    CHECK(late.exit_code == 0);
    CHECK(contains(late.err, "timeout: no result within timeout = 0.3 s in phase measure"));
    CHECK(sandbox->file("probed") == "fp32 fp32 ");
    sandbox->set_variable("FAKE_WORKER_PROBE=");
    CHECK(sandbox->sweep({"--context-length", "128"}).exit_code == 0);
    CHECK(sandbox->sweep({"--context-length", "256"}).exit_code == 0);
    CHECK(sandbox->file("probed") == "fp32 fp32 fp32 ");
}

TEST_CASE("a probe is finished by the first Ctrl-C and killed by the second") {
    const auto sandbox = Sandbox::with_gpu("axis.behaviour = ok\n");
    sandbox->set_variable("FAKE_WORKER_PROBE=hang");
    const pid_t pid = sandbox->start({"run", "x.cfg"});
    sandbox->wait_until([&] { return contains(sandbox->file("probed"), "fp32"); });
    ::kill(pid, SIGINT);
    sandbox->wait_until([&] { return contains(sandbox->file("err.txt"), "once more kills it"); });
    ::kill(pid, SIGINT);
    CHECK(sandbox->wait(pid).signal == SIGINT);
    CHECK(sandbox->column("status") == "not_run");
    sandbox->set_variable("FAKE_WORKER_PROBE=");
    CHECK(sandbox->sweep().exit_code == 0);
    CHECK(sandbox->file("probed") == "fp32 fp32 ");
}

TEST_CASE("another worker, or a launcher, gets no probe") {
    Sandbox other("axis.behaviour = ok\n");
    other.use_fake_gpu();
    CHECK(other.sweep().exit_code == 0);
    CHECK(other.column("device") == "cuda");
    CHECK(other.file("probed").empty());
    const auto launched = Sandbox::with_gpu("axis.behaviour = ok\nlauncher = env\n");
    CHECK(launched->sweep().exit_code == 0);
    CHECK(launched->file("probed").empty());
}

TEST_CASE("--fresh starts over and keeps the old run") {
    Sandbox sandbox("axis.behaviour = ok\n");
    sandbox.sweep();
    const std::string old = sandbox.file("results/x/journal.jsonl");
    const Ran fresh = sandbox.sweep({"--fresh"});
    CHECK(fresh.exit_code == 0);
    CHECK(sandbox.answers() == 2);
    CHECK_FALSE(contains(fresh.err, "isosweep run x.cfg --fresh"));
    bool kept = false;
    for (const auto& entry : std::filesystem::directory_iterator(sandbox.path("results")))
        if (entry.path().filename().string().starts_with("x.before-") && entry.is_directory())
            kept = file_contents(entry.path() / "journal.jsonl") == old;
    CHECK(kept);
}

TEST_CASE("--fresh where nothing is begins, and a folder of something else is left alone") {
    Sandbox sandbox("axis.behaviour = ok\n");
    CHECK(sandbox.sweep({"--fresh"}).exit_code == 0);
    std::filesystem::create_directory(sandbox.path("foreign"));
    write_file(sandbox.path("foreign/notes.txt"), "mine");
    const Ran ran = sandbox.sweep({"--output", "foreign.csv", "--fresh"});
    CHECK(ran.exit_code == 2);
    CHECK(contains(ran.err, "its folder foreign holds something else"));
    CHECK(sandbox.file("foreign/notes.txt") == "mine");
}

TEST_CASE("under nohup a hang-up is ignored, and an inherited SIGCHLD does no harm") {
    Sandbox sandbox("axis.behaviour = slow:400, ok\n");
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGCHLD, SIG_IGN);
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    ::signal(SIGHUP, SIG_DFL);
    ::signal(SIGCHLD, SIG_DFL);
    sandbox.wait_until(
        [&] { return contains(sandbox.file("results/x/journal.jsonl"), "\"hello\""); });
    ::kill(pid, SIGHUP);
    CHECK(sandbox.wait(pid).exit_code == 0);
    CHECK(sandbox.column("status") == "ok ok");
}

TEST_CASE("a worker or launcher that is not there is told before anything is started") {
    Sandbox sandbox("axis.behaviour = ok\n");
    const Ran worker = sandbox.sweep({"--worker", "/nowhere/worker"});
    CHECK(worker.exit_code == 5);
    CHECK(contains(worker.err, "worker = '/nowhere/worker': expected a program that can be run"));
    const Ran launcher = sandbox.sweep({"--launcher", "no-such-launcher -n 1"});
    CHECK(launcher.exit_code == 5);
    CHECK(contains(launcher.err, "launcher = 'no-such-launcher': no such program in PATH"));
    CHECK_FALSE(std::filesystem::exists(sandbox.path("results")));
}

TEST_CASE("a second run of the same output is kept out") {
    Sandbox sandbox("axis.behaviour = slow:3000\n");
    const pid_t first = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until(
        [&] { return contains(sandbox.file("results/x/journal.jsonl"), "\"worker\""); });
    const Ran second = sandbox.sweep();
    CHECK(second.exit_code == 3);
    CHECK(contains(second.err, "pid " + std::to_string(first)));
    ::kill(first, SIGKILL);
    sandbox.wait(first);
    CHECK(contains(sandbox.run({"status", "x.cfg"}).out, "0 of 1 cells done"));
}

TEST_CASE("a killed sweep goes on where it stopped, and its worker died with it") {
    Sandbox sandbox("axis.behaviour = ok, slow:60000\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    const auto journal = [&] { return sandbox.file("results/x/journal.jsonl"); };
    sandbox.wait_until([&] {
        const std::string text = journal();
        return contains(text, "\"decision\":\"record\"") &&
               text.rfind("\"start\"") > text.find("\"decision\"") &&
               text.rfind("\"worker\"") > text.find("\"worker\"");
    });
    ::kill(pid, SIGKILL);
    sandbox.wait(pid);
    const std::string text = journal();
    const std::size_t at = text.rfind("\"pid\":") + 6;
    const std::string worker = text.substr(at, text.find(',', at) - at);
    sandbox.wait_until([&] {
        const std::string stat = file_contents("/proc/" + worker + "/stat");
        return stat.empty() || contains(stat, ") Z ");
    });
    CHECK(sandbox.answers() == 1);
    // The same grid but for the slow cell, under the same journal.
    const Ran report = sandbox.run({"report", "x.cfg", "--format", "csv"});
    CHECK(contains(report.out, "interrupted"));
    const Ran resumed = sandbox.sweep({"--axis.behaviour", "ok,slow:1"});
    CHECK(resumed.exit_code == 0);
    CHECK(sandbox.column("status") == "ok ok");
    CHECK(sandbox.answers() == 2);
}

TEST_CASE("the first Ctrl-C finishes the running cell, and the sweep ends as by that signal") {
    Sandbox sandbox("axis.behaviour = slow:700, ok\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until(
        [&] { return contains(sandbox.file("results/x/journal.jsonl"), "\"hello\""); });
    ::kill(pid, SIGINT);
    const Ran ran = sandbox.wait(pid);
    CHECK(ran.signal == SIGINT);
    CHECK(sandbox.column("status") == "ok not_run");
    CHECK(contains(ran.err, "go on with: " ISOSWEEP_PROGRAM " run x.cfg\n"));
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("status") == "ok ok");
    CHECK(sandbox.answers() == 2);
}

TEST_CASE("a second Ctrl-C kills the cell, which is run again later") {
    Sandbox sandbox("axis.behaviour = slow:60000\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until(
        [&] { return contains(sandbox.file("results/x/journal.jsonl"), "\"hello\""); });
    ::kill(pid, SIGTERM);
    sandbox.wait_until([&] { return contains(sandbox.file("err.txt"), "once more kills it"); });
    ::kill(pid, SIGTERM);
    CHECK(sandbox.wait(pid).signal == SIGTERM);
    CHECK(sandbox.column("status") == "interrupted");
    CHECK(sandbox.column("attempts") == "0");
}

TEST_CASE("several workers at a time give the rows in plan order") {
    Sandbox sandbox("axis.behaviour = slow:200, ok\ncontext-length = 1..8\njobs = 4\n");
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("context_length") == "1 1 2 2 3 3 4 4 5 5 6 6 7 7 8 8");
    CHECK(sandbox.answers() == 16);
}

TEST_CASE("a sweep stops when too many cells have failed, and says how to go on") {
    Sandbox sandbox("axis.behaviour = ok, exit:3, exit:4, slow:1\nmax-failures = 2\n");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 1);
    CHECK(sandbox.column("status") == "ok error error not_run");
    CHECK(contains(ran.err, "stopped: too many cells have failed (max-failures)"));
    Sandbox fast("axis.behaviour = exit:3, ok\nfail-fast = on\n");
    CHECK(fast.sweep().exit_code == 1);
    CHECK(fast.column("status") == "error not_run");
}

TEST_CASE("running out of memory is a finding, unless it is said to be a failure") {
    Sandbox sandbox("axis.behaviour = report:oom_gpu\n");
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("error") == "OOM");
    CHECK(sandbox.sweep({"--fail-on", "oom"}).exit_code == 1);
}

TEST_CASE("a flagged cell is ok and named in the summary, unless --strict makes it a failure") {
    Sandbox sandbox("axis.behaviour = ok, flags, result_then_exit\n");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.err,
                   "2 cells ok with flags: dirty_exit:3 (1), outliers (1), throttled (1)\n"));
    CHECK_FALSE(contains(ran.err, "  flagged  "));
    const Ran strict = sandbox.sweep({"--strict"});
    CHECK(strict.exit_code == 1);
    CHECK(contains(strict.err,
                   "tiny, context 512, batch 4, forward, behaviour flags: throttled "
                   "outliers\n"));
    CHECK(contains(strict.err, "2 cells ok with flags, failed by --strict: "));
    CHECK(sandbox.column("status") == "ok ok ok");
    CHECK(sandbox.answers() == 3);
    const std::string keys = sandbox.column("key");
    CHECK(sandbox.sweep({"--only", keys.substr(17, 16)}).exit_code == 0);
    CHECK(sandbox.sweep({"--only", keys.substr(17, 16), "--strict"}).exit_code == 1);
    CHECK(sandbox.sweep({"--axis.behaviour", "ok", "--strict"}).exit_code == 0);
}

TEST_CASE("results that cannot be written end the sweep before it begins") {
    Sandbox sandbox("axis.behaviour = ok\noutput = blocked/x.csv\n");
    write_file(sandbox.path("blocked"), "a file where a folder should be");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 4);
    CHECK(contains(ran.err, "cannot make the folder blocked/x"));
    CHECK(sandbox.answers() == 0);
}

TEST_CASE("bad input starts and writes nothing") {
    Sandbox sandbox("axis.behaviour = ok\n");
    CHECK(sandbox.sweep({"--batch-size", "many"}).exit_code == 2);
    CHECK(sandbox.file("err.txt") == "isosweep: --batch-size = 'many': expected an integer >= 1\n");
    CHECK_FALSE(std::filesystem::exists(sandbox.path("results")));
}

TEST_CASE("a launcher is put in front of the worker") {
    Sandbox sandbox(
        "axis.behaviour = ok, crash:11\nretry = none\nlauncher = sh -c '\"$@\"; exit $?' x\n");
    sandbox.sweep();
    CHECK(sandbox.column("status") == "ok crash");
    CHECK(sandbox.column("signal") == " SIGSEGV");
}

TEST_CASE("memory-limit is not for workers behind a launcher") {
    Sandbox sandbox("axis.behaviour = ok\nlauncher = env\nmemory-limit = 1GiB\n");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 2);
    CHECK(contains(ran.err,
                   "memory-limit = 1.00 GiB: a launcher's workers are not ours to limit; give the "
                   "limit to the launcher"));
    CHECK_FALSE(std::filesystem::exists(sandbox.path("results")));
}

TEST_CASE("a worker that goes over memory-limit is out of memory, the others are not") {
    if (!can_limit_memory()) return;
    for (const char* isolation : {"process", "shared"}) {
        CAPTURE(isolation);
        Sandbox sandbox("axis.behaviour = allocate:8, allocate:400, ok, crash:9\nretry = none\n");
        const Ran ran = sandbox.sweep({"--memory-limit", "200MiB", "--isolation", isolation});
        CAPTURE(ran.err);
        CHECK(sandbox.column("status") == "ok oom_host ok crash");
        CHECK(contains(sandbox.column("message"),
                       "killed for want of memory in phase measure: over memory-limit = 200 MiB"));
        const Journal journal = Journal::read(sandbox.path("results/x/journal.jsonl"));
        CHECK(journal.workers().size() == (isolation == std::string("process") ? 4 : 2));
        for (const auto& [token, worker] : journal.workers()) {
            CHECK(contains(std::string(worker.group), "/isosweep-" + std::string(token)));
            CHECK_FALSE(std::filesystem::exists(worker.group));
        }
        // The limit is not the cell's.
        const std::string keys = sandbox.column("key");
        CHECK(contains(
            sandbox.sweep({"--only", keys.substr(17, 16), "--memory-limit", "200MiB"}).out,
            R"({"status":"oom_host","message":"killed for want of memory in phase measure: over)"));
        CHECK(sandbox.sweep({"--isolation", isolation}).exit_code == 1);
        CHECK(sandbox.column("key") == keys);
        CHECK(sandbox.answers() == 2);
    }
}

TEST_CASE("a limit that is too small for a worker to start says so and stops the sweep") {
    if (!can_limit_memory()) return;
    Sandbox sandbox("context-length = 1..5\nmemory-limit = 64KiB\nretry = none\n");
    const Ran ran = sandbox.sweep();
    CHECK(ran.exit_code == 5);
    CHECK(contains(ran.err, "before its hello (SIGKILL): over memory-limit = 64.0 KiB"));
    CHECK(sandbox.column("status") == "spawn_failed spawn_failed spawn_failed not_run not_run");
    CHECK(sandbox.sweep({"--memory-limit", "200MiB"}).exit_code == 0);
}

TEST_CASE("who escapes from a worker with a memory limit dies with it, or with the next start") {
    if (!can_limit_memory()) return;
    Sandbox sandbox("axis.behaviour = escape:300\nmemory-limit = 200MiB\n");
    const auto escaped = [&] {
        return static_cast<pid_t>(std::strtol(sandbox.file("escaped").c_str(), nullptr, 10));
    };
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(escaped() > 0);
    CHECK(is_gone(escaped()));

    std::filesystem::remove(sandbox.path("escaped"));
    const pid_t pid = sandbox.start({"run", "x.cfg", "--axis.behaviour", "escape:60000"});
    sandbox.wait_until([&] { return contains(sandbox.file("escaped"), "\n"); });
    ::kill(pid, SIGKILL);
    sandbox.wait(pid);
    const Journal journal = Journal::read(sandbox.path("results/x/journal.jsonl"));
    const auto groups_left = [&] {
        return std::count_if(
            journal.workers().begin(), journal.workers().end(),
            [](const auto& entry) { return std::filesystem::exists(entry.second.group); });
    };
    CHECK(groups_left() == 1);
    CHECK_FALSE(is_gone(escaped()));
    CHECK(sandbox.sweep({"--memory-limit", "none"}).exit_code == 0);
    CHECK(groups_left() == 0);
    CHECK(is_gone(escaped()));
}

TEST_CASE("--only runs one planned cell and records nothing") {
    Sandbox sandbox("axis.behaviour = ok, report:oom_gpu\n");
    const std::string plan = sandbox.run({"plan", "x.cfg"}).out;
    const std::size_t at = plan.find("tiny") - 18;
    const Ran ran = sandbox.sweep({"--only", plan.substr(at, 16)});
    CHECK(ran.exit_code == 0);
    CHECK(contains(ran.out, R"({"status":"ok","measurement":)"));
    CHECK_FALSE(std::filesystem::exists(sandbox.path("results")));
    CHECK(sandbox.sweep({"--only", "none-such"}).exit_code == 2);
}

TEST_CASE("plan lists the cells, status and report tell how far a sweep is") {
    Sandbox sandbox("axis.behaviour = ok, exit:3\n");
    CHECK(contains(sandbox.run({"plan", "x.cfg"}).out,
                   "tiny, context 512, batch 4, forward, behaviour ok"));
    CHECK(contains(sandbox.run({"status", "x.cfg"}).out, "2 cells planned, none run yet"));
    CHECK(sandbox.run({"report", "x.cfg"}).exit_code == 2);
    sandbox.sweep();
    CHECK(contains(sandbox.run({"status", "x.cfg"}).out, "2 of 2 cells done, 1 failed, 0 left"));
    const Ran csv = sandbox.run({"report", "x.cfg", "--format", "csv"});
    CHECK(csv.out == sandbox.file("results/x.csv"));
    const Ran text = sandbox.run({"report", "results/x.csv"});
    CHECK(text.out == sandbox.run({"report", "x.cfg"}).out);
    CHECK(contains(text.out, "exit:3"));
    sandbox.run({"report", "x.cfg", "--format", "markdown", "--output", "t.md"});
    CHECK(sandbox.file("t.md").starts_with("| size | context |"));
}

TEST_CASE("on a terminal one live line tells how far the sweep is, within its width") {
    Sandbox sandbox("axis.behaviour = ok, slow:1300, exit:3\n");
    const Ran ran = sandbox.run_on_terminal({"run", "x.cfg"});
    CHECK(ran.exit_code == 1);
    CHECK(contains(ran.err, "[1/3] tiny, context 512"));
    // The cell's text is cut, not what comes behind it.
    for (const char* part : {" | measure ", " s | elapsed ", " s | ETA "})
        CHECK(contains(ran.err, part));
    CHECK(contains(ran.err, "\x1b[32mok      \x1b[0m"));
    CHECK(contains(ran.err, "\x1b[31merror   \x1b[0m"));
    for (std::size_t at = ran.err.find("\r["); at != std::string::npos;
         at = ran.err.find("\r[", at + 1))
        CHECK(ran.err.find("\x1b[K", at) - at <= 80);
    Sandbox plain("axis.behaviour = ok\n");
    plain.set_variable("NO_COLOR=1");
    CHECK_FALSE(contains(plain.run_on_terminal({"run", "x.cfg"}).err, "\x1b[32m"));
}

TEST_CASE("the help, a plan and a table are what they were") {
    Sandbox sandbox("axis.behaviour = ok, report:oom_gpu\ncontext-length = 64..128*2\n");
    const auto expected = [](const std::string& name) {
        return file_contents(TESTS_DIR "/expected/" + name);
    };
    CHECK(sandbox.run({"--help"}).out == expected("help.txt"));
    CHECK(sandbox.run({"run", "--help"}).out == expected("help_run.txt"));
    CHECK(sandbox.run({"report", "--help"}).out == expected("help_report.txt"));
    CHECK(sandbox.run({"compare", "--help"}).out == expected("help_compare.txt"));
    CHECK(sandbox.run({"plan", "x.cfg"}).out == expected("plan.txt"));
    CHECK(sandbox.sweep({"--markdown"}).out == expected("table.txt"));
    CHECK(sandbox.run({"report", "x.cfg", "--format", "csv"})
              .out.starts_with(expected("header.csv")));
}

TEST_CASE("the configs that come with the project plan what they say") {
    const std::pair<const char*, std::size_t> configs[] = {
        {"smoke", 6},         {"run_benchmarks", 10}, {"direct", 6}, {"warmup_comparison", 10},
        {"large_models", 10}, {"separate", 5},        {"full", 72}};
    for (const auto& [name, cells] : configs) {
        CAPTURE(std::string(name));
        Sandbox sandbox("");
        const std::string config = SOURCE_DIR "/configs/" + std::string(name) + ".cfg";
        CHECK(file_contents(config).starts_with("# "));
        const Ran ran = sandbox.run({"plan", config});
        CHECK(ran.exit_code == 0);
        CHECK(ran.err.starts_with(std::to_string(cells) + " cells\n"));
    }
}

TEST_CASE("a worker in Python with axes of its own is swept") {
    Sandbox sandbox(
        "axis.power = 2, 3\naxis.terms = 10, 100\nmeasure-steps = 3\nwarmup-steps = 1\n",
        TESTS_DIR "/python_worker.py");
    for (const char* isolation : {"process", "shared"}) {
        const Ran ran =
            sandbox.sweep({"--isolation", isolation, "--output", std::string(isolation) + ".csv"});
        CAPTURE(ran.err);
        CHECK(ran.exit_code == 0);
        const std::string csv = std::string(isolation) + ".csv";
        CHECK(sandbox.column("power", csv) == "2 2 3 3");
        CHECK(sandbox.column("terms", csv) == "10 100 10 100");
        CHECK(sandbox.column("total", csv) == "285 328350 2025 24502500");
    }
}

TEST_SUITE_END();
