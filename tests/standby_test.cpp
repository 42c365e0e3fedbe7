// The next worker, which starts while the one before it is not timed.
#include <signal.h>

#include "orchestrator/journal.h"
#include "orchestrator/policy.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

/// The process ids of all workers that the journal knows, in their order.
std::vector<std::string> worker_pids(const Sandbox& sandbox) {
    const std::string text = sandbox.file("results/x/journal.jsonl");
    const std::string mark = "{\"record\":\"worker\"";
    std::vector<std::string> pids;
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
        const std::size_t begin = text.find("\"pid\":", at) + 6;
        pids.push_back(text.substr(begin, text.find(',', begin) - begin));
    }
    return pids;
}

/// 'T' where a process is stopped, 'S' where it sleeps; ' ' where it is gone.
char state_of(const std::string& pid) {
    const std::string stat = file_contents("/proc/" + pid + "/stat");
    const std::size_t at = stat.rfind(") ");
    return at == std::string::npos || stat[at + 2] == 'Z' ? ' ' : stat[at + 2];
}

bool is_in_order(const std::string& text, const std::vector<std::string>& parts) {
    std::size_t at = 0;
    for (const std::string& part : parts) {
        at = text.find(part, at);
        if (at == std::string::npos) return false;
        at += part.size();
    }
    return true;
}

}  // namespace

TEST_CASE("whoever stands by keeps still beside what is timed or not known") {
    for (const char* phase : {"build", "capture", "memory", "cleanup"})
        CHECK_FALSE(is_timed(phase));
    for (const char* phase : {"warmup", "measure", "pipelined", "energy", "train", ""})
        CHECK(is_timed(phase));
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE("the next worker starts beside what is not timed, and stands still beside what is") {
    Sandbox sandbox("axis.behaviour = slow:1500, ok\n");
    sandbox.set_variable("FAKE_WORKER_START=slow");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    // It takes 300 ms to start, and the first one comes to what is timed before that.
    sandbox.wait_until([&] { return worker_pids(sandbox).size() == 2; });
    const std::string standby = worker_pids(sandbox)[1];
    sandbox.wait_until([&] { return state_of(standby) == 'T'; });
    CHECK(sandbox.answers() == 0);
    const Ran ran = sandbox.wait(pid);
    CHECK_MESSAGE(ran.exit_code == 0, ran.err);
    CHECK(sandbox.column("status") == "ok ok");
    CHECK(sandbox.column("attempts") == "1 1");
    CHECK(worker_pids(sandbox).size() == 2);
}

TEST_CASE("without a standby each worker is started when the one before has ended") {
    const auto is_alone = [](const char* standby) {
        Sandbox sandbox("axis.behaviour = ok, slow:1\n");
        CHECK(sandbox.sweep({"--standby", standby}).exit_code == 0);
        return is_in_order(sandbox.file("results/x/journal.jsonl"),
                           {"\"worker\"", "\"end\"", "\"worker\"", "\"end\""});
    };
    CHECK(is_alone("off"));
    CHECK_FALSE(is_alone("libraries"));
}

TEST_CASE("a standby that ends before its job costs nobody anything") {
    Sandbox sandbox("axis.behaviour = slow:200, ok, slow:1\n");
    sandbox.set_variable("FAKE_WORKER_START=second_ends");
    const Ran ran = sandbox.sweep();
    CHECK_MESSAGE(ran.exit_code == 0, ran.err);
    CHECK(sandbox.column("status") == "ok ok ok");
    CHECK(sandbox.column("attempts") == "1 1 1");
    CHECK(worker_pids(sandbox).size() == 4);
}

TEST_CASE(
    "a standby that says no hello has the limit of any worker, but for the time it stood still") {
    const auto ends_as = [](const std::string& first) {
        Sandbox sandbox("axis.behaviour = " + first + ", ok\n");
        sandbox.set_variable("FAKE_WORKER_START=second_hangs");
        sandbox.sweep({"--start-timeout", "400ms"});
        return sandbox.column("status");
    };
    CHECK(ends_as("build:900") == "ok ok");  // it was killed meanwhile, and another one started
    CHECK(ends_as("slow:900") == "ok timeout");
}

TEST_CASE("a standby that said hello just before it was stopped may wait as long as it must") {
    Sandbox sandbox("axis.behaviour = memory:1800, ok\n");
    sandbox.set_variable("FAKE_WORKER_START=second_helped");
    const Ran ran = sandbox.sweep({"--start-timeout", "1s"});
    CHECK_MESSAGE(ran.exit_code == 0, ran.err);
    CHECK(sandbox.column("status") == "ok ok");
    CHECK(worker_pids(sandbox).size() == 2);
}

TEST_CASE("a worker that does not fit the sweep ends it, and what runs beside it is kept") {
    // It says so when the one before it has answered and is still there.
    Sandbox sandbox("axis.behaviour = result_then_hang, ok\n");
    sandbox.set_variable("FAKE_WORKER_START=second_differs");
    const Ran ran = sandbox.sweep({"--kill-grace", "2s"});
    CHECK(ran.exit_code == 2);
    CHECK(contains(ran.err, "begun with worker build 'second_differs', now it is 'newer'"));
    CHECK(sandbox.column("status") == "ok not_run");
    CHECK(sandbox.answers() == 1);

    // Nor is the time of others lost, where several are measured at once.
    Sandbox several("axis.behaviour = slow:1500, slow:1501\ndevice = cpu\njobs = 2\n");
    several.set_variable("FAKE_WORKER_START=second_differs");
    CHECK(several.sweep().exit_code == 2);
    const std::string status = several.column("status");
    CHECK_MESSAGE((status == "ok not_run" || status == "not_run ok"), status);
    CHECK(contains(several.column("message"), "its worker does not fit the sweep"));
    CHECK(several.sweep({"--allow-mixed"}).exit_code == 0);
    CHECK(several.column("attempts") == "1 1");
}

TEST_CASE("a standby that is not needed ends with the sweep") {
    for (const int signals : {1, 2}) {
        Sandbox sandbox("axis.behaviour = slow:700, ok\n");
        sandbox.set_variable("FAKE_WORKER_START=slow");
        const pid_t pid = sandbox.start({"run", "x.cfg"});
        sandbox.wait_until([&] { return worker_pids(sandbox).size() == 2; });
        const std::string standby = worker_pids(sandbox)[1];
        for (int i = 0; i < signals; ++i) {
            ::kill(pid, SIGINT);
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
        CHECK(sandbox.wait(pid).signal == SIGINT);
        CHECK(state_of(standby) == ' ');
        CHECK(sandbox.column("status") == (signals == 1 ? "ok not_run" : "interrupted not_run"));
    }
}

TEST_CASE("a standby dies with the run that started it, stopped as it is") {
    Sandbox sandbox("axis.behaviour = slow:60000, ok\n");
    sandbox.set_variable("FAKE_WORKER_START=slow");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until([&] { return worker_pids(sandbox).size() == 2; });
    const std::string standby = worker_pids(sandbox)[1];
    sandbox.wait_until([&] { return state_of(standby) == 'T'; });
    ::kill(pid, SIGKILL);
    sandbox.wait(pid);
    sandbox.wait_until([&] { return state_of(standby) == ' '; });
}

TEST_CASE("a context is created ahead when the worker before has answered, where there is room") {
    const auto prepared = [](const char* used_mib, const char* standby) {
        Sandbox sandbox("axis.behaviour = build:300, build:301, ok\n");
        sandbox.use_fake_gpu();
        sandbox.set_variable("FAKE_WORKER_START=prepares");
        write_file(sandbox.path("gpu"), used_mib);
        sandbox.set_variable("FAKE_NVML_STATE=" + sandbox.path("gpu").string());
        const Ran ran = sandbox.sweep({"--standby", standby});
        CHECK_MESSAGE(ran.exit_code == 0, ran.err);
        CHECK(sandbox.column("status") == "ok ok ok");
        return sandbox.file("prepared");
    };
    CHECK(prepared("100", "context") == "driver\ndriver\ncontext\ncontext\n");
    CHECK(prepared("7000", "context") == "driver\ndriver\n");  // of 8192 MiB
    CHECK(prepared("100", "libraries").empty());
}

TEST_CASE("a context is created as soon as the worker before has measured all and cleans up") {
    Sandbox sandbox("axis.behaviour = cleanup:60000, ok\n");
    sandbox.use_fake_gpu();
    sandbox.set_variable("FAKE_WORKER_START=prepares");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    sandbox.wait_until([&] { return sandbox.file("prepared") == "driver\ncontext\n"; });
    CHECK(sandbox.answers() == 0);
    for (int i = 0; i < 2; ++i) ::kill(pid, SIGINT);
    CHECK(sandbox.wait(pid).signal == SIGINT);
}

TEST_SUITE_END();
