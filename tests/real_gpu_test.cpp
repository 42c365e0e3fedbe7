// Real faults of a real GPU, seen from the whole program. The place of the worker with faults on
// request is in ISOSWEEP_FAULTY_WORKER.
#include <isosweep/nvml.h>

#include <cstdio>

#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

TEST_SUITE_BEGIN("real GPU");

TEST_CASE("each fault of a GPU has its outcome, and the next cell runs as if nothing had been") {
    const char* const worker = std::getenv("ISOSWEEP_FAULTY_WORKER");
    if (!worker || query_gpus().gpus.empty()) {
        MESSAGE("skipped: no GPU");
        return;
    }
    struct Fault {
        const char* name;
        const char* status;
        const char* phase;
    };
    const Fault faults[] = {{"oom_forward", "oom_gpu", "forward"},
                            {"oom_backward", "oom_gpu", "backward"},
                            {"oom_optimizer", "oom_gpu", "optimizer"},
                            {"assert", "crash", ""},
                            {"kill", "crash", "measure"},
                            {"leak", "ok", ""}};
    for (const std::string isolation : {"process", "shared"}) {
        std::string axis = "none, again";
        for (const Fault& fault : faults)
            axis += ", " + std::string(fault.name) + ", after_" + fault.name;
        Sandbox sandbox("axis.fault = " + axis + "\nisolation = " + isolation +
                            "\nretry = none\npass-type = train_step\nmodel-size = medium\n"
                            "warmup-steps = 5\nmeasure-steps = 20\n",
                        worker, "");
        const Ran ran = sandbox.sweep({"--timeout", "120s"});
        CAPTURE(ran.err);
        CHECK(ran.exit_code == 1);
        const Table table = read_csv(sandbox.path("results/x.csv").string());
        const auto at = [&](std::size_t row, const char* column) {
            return std::get<std::string>(table.at(row, column));
        };
        const auto median = [&](std::size_t row) {
            const std::string text = at(row, "median_time_ms");
            return text.empty() ? 0 : std::stod(text);
        };
        const double clean = median(0);
        std::printf("isolation = %s: %s, driver %s\n%-14s %-8s %-10s %-8s %12s %10s\n",
                    isolation.c_str(), at(0, "gpu").c_str(), at(0, "driver").c_str(), "fault",
                    "status", "phase", "signal", "next, ms", "to clean");
        std::printf("%-14s %-8s %-10s %-8s %12.3f %+9.2f%%\n", "none", at(0, "status").c_str(), "",
                    "", median(1), 100 * (median(1) / clean - 1));
        for (std::size_t i = 0; i < std::size(faults); ++i) {
            const std::size_t row = 2 + 2 * i;
            CAPTURE(faults[i].name);
            CHECK(at(row, "status") == faults[i].status);
            if (*faults[i].phase) CHECK(at(row, "phase") == faults[i].phase);
            CHECK(at(row + 1, "status") == "ok");
            std::printf("%-14s %-8s %-10s %-8s %12.3f %+9.2f%%\n", faults[i].name,
                        at(row, "status").c_str(), at(row, "phase").c_str(),
                        at(row, "signal").c_str(), median(row + 1),
                        100 * (median(row + 1) / clean - 1));
        }
        CHECK(at(10, "signal") == "SIGKILL");
        std::fflush(stdout);
    }
}

TEST_SUITE_END();
