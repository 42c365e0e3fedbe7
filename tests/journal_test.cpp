#include "orchestrator/journal.h"

#include <doctest/doctest.h>

#include "orchestrator/errors.h"
#include "temp_folder.h"

using namespace isosweep;
using isosweep::tests::file_contents;
using isosweep::tests::TempFolder;
using isosweep::tests::write_file;

namespace {

Setting setting() {
    Setting one;
    one.isosweep = "0.1";
    one.isolation = "process";
    one.device = "cpu";
    return one;
}

Attempt attempt(int number, Status status, Decision decision = Decision::record) {
    Attempt one;
    one.number = number;
    one.decision = decision;
    one.outcome.status = status;
    one.outcome.message = status == Status::ok ? "" : "why";
    one.token = "t";
    if (status == Status::ok) one.outcome.measurement = {{"samples_ms", {1.1, 2.2}}};
    return one;
}

void write_sample(const std::filesystem::path& file) {
    Journal journal = Journal::open(file);
    journal.write_header(setting());
    journal.write_hello({{"event", "hello"}, {"torch", "2.11.0"}, {"build", "b"}});
    journal.write_start("k1", 1, "n1", "t", {});
    WorkerRecord placed{"t", 42, 4711, 0, "GPU-1"};
    placed.cpus = {0, 1, 2, 8};
    placed.memory_node = 1;
    journal.write_worker(placed);
    journal.write_worker({"u", 43, 4712, 0, "", "boot", "/sys/fs/cgroup/isosweep-u"});
    journal.write_end("k1", attempt(1, Status::crash, Decision::retry));
    journal.write_start("k1", 2, "n2", "t", {});
    journal.write_end("k1", attempt(2, Status::ok));
    journal.write_start("k2", 1, "n3", "t", {});
    journal.sync();
}

}  // namespace

TEST_CASE("a journal tells a later run what happened") {
    const TempFolder folder;
    write_sample(folder / "j");
    const Journal journal = Journal::open(folder / "j");
    CHECK(journal.setting()->isolation == "process");
    CHECK(*journal.setting()->torch == "2.11.0");
    CHECK(journal.worker("t")->pid == 42);
    CHECK(journal.worker("t")->group.empty());
    CHECK(journal.worker("t")->cpus == CpuList{0, 1, 2, 8});
    CHECK(journal.worker("t")->memory_node == 1);
    CHECK(journal.worker("u")->cpus.empty());
    CHECK_FALSE(journal.worker("u")->memory_node);
    CHECK(journal.worker("u")->group == "/sys/fs/cgroup/isosweep-u");
    CHECK(journal.workers().size() == 2);
    const CellHistory& first = journal.history("k1");
    CHECK(first.is_done());
    CHECK(first.recorded->status == Status::ok);
    CHECK(first.attempts == 2);
    CHECK(first.failures == 1);
    CHECK_FALSE(journal.history("k2").is_done());
    CHECK(journal.history("k2").open);
    CHECK(journal.history("k2").attempts == 0);
    CHECK(journal.history("unknown").starts == 0);
}

TEST_CASE("numbers are the same before and after reading back") {
    const TempFolder folder;
    Journal journal = Journal::open(folder / "j");
    journal.write_header(setting());
    Attempt one = attempt(1, Status::ok);
    for (int i = 1; i < 200; ++i)
        one.outcome.measurement["x" + std::to_string(i)] = 1000.0 / 7 * i + 0.1 / i;
    journal.write_start("k", 1, "n", "t", {});
    journal.write_end("k", one);
    const Journal again = Journal::read(folder / "j");
    const Attempt written = journal.attempt(*journal.history("k").recorded);
    CHECK(written.outcome.measurement ==
          again.attempt(*again.history("k").recorded).outcome.measurement);
    CHECK(written.outcome.measurement.size() == one.outcome.measurement.size());
}

TEST_CASE("what was asked for and what became of it are read again from their records") {
    const TempFolder folder;
    {
        Journal journal = Journal::open(folder / "j");
        journal.write_header(setting());
        Attempt one = attempt(1, Status::crash, Decision::retry);
        one.outcome.message = "first";
        journal.write_start("k", 1, "n", "t", {{"context_length", 64}});
        journal.write_end("k", one);
        one = attempt(2, Status::ok);
        one.outcome.flags = {"outliers"};
        one.times.answer = 2.5;
        journal.write_start("k", 2, "n", "u", {{"context_length", 64}});
        journal.write_end("k", one);
        journal.write_start("k", 3, "n", "v", {{"context_length", 64}});
        one = attempt(3, Status::interrupted, Decision::again);
        one.outcome.message = "third";
        journal.write_end("k", one);
        CHECK(journal.attempt(*journal.history("k").last).outcome.message == "third");
    }
    const Journal journal = Journal::read(folder / "j");
    const CellHistory& history = journal.history("k");
    const Attempt recorded = journal.attempt(*history.recorded);
    CHECK(recorded.number == 2);
    CHECK(recorded.outcome.flags == std::vector<std::string>{"outliers"});
    CHECK(recorded.times.answer == 2.5);
    CHECK(journal.attempt(*history.last).outcome.message == "third");
    CHECK(journal.asked_cell(history) == boost::json::object{{"context_length", 64}});
    CHECK(journal.asked_cell(journal.history("unknown")).empty());

    // Somebody writes into the file meanwhile.
    std::string text = file_contents(folder / "j");
    text.replace(text.find(R"("flags":)"), 8, R"("flags";)");
    write_file(folder / "j", text);
    CHECK_THROWS_AS(journal.attempt(*history.recorded), ResultsError);
}

TEST_CASE("a journal cut at any byte opens, keeps every whole record, and goes on") {
    const TempFolder folder;
    write_sample(folder / "whole");
    const std::string text = file_contents(folder / "whole");
    for (std::size_t length = 0; length <= text.size(); ++length) {
        CAPTURE(length);
        write_file(folder / "cut", text.substr(0, length));
        {
            Journal journal = Journal::open(folder / "cut");
            const std::size_t whole = text.rfind('\n', length == 0 ? 0 : length - 1);
            const bool has_end =
                length >= text.find("\"record\":\"start\",", text.find("\"k2\"") - 80);
            if (has_end) CHECK(journal.history("k1").is_done());
            CHECK(std::filesystem::file_size(folder / "cut") ==
                  (length == 0 || whole == std::string::npos ? 0 : whole + 1));
            if (!journal.setting()) journal.write_header(setting());
            journal.write_start("k3", 1, "n", "t", {});
            journal.write_end("k3", attempt(1, Status::ok));
        }
        CHECK(Journal::read(folder / "cut").history("k3").is_done());
    }
}

TEST_CASE("a bad line in the middle is refused with its number") {
    const TempFolder folder;
    write_sample(folder / "j");
    std::string text = file_contents(folder / "j");
    text.insert(text.find('\n') + 1, "garbage\n");
    write_file(folder / "j", text);
    try {
        Journal::open(folder / "j");
        FAIL("opened");
    } catch (const ResultsError& error) {
        CHECK(std::string(error.what()).find("j:2: not a record of a journal") !=
              std::string::npos);
    }
    CHECK(file_contents(folder / "j") == text);
    write_file(folder / "j", R"({"record":"header","schema":99})"
                             "\n");
    CHECK_THROWS_AS(Journal::open(folder / "j"), UsageError);
}

TEST_CASE("an attempt that was asked for and broken off takes nothing away") {
    const TempFolder folder;
    Journal journal = Journal::open(folder / "j");
    journal.write_header(setting());
    journal.write_start("k", 1, "n", "t", {});
    journal.write_end("k", attempt(1, Status::oom_gpu));
    journal.write_start("k", 2, "n", "t", {});
    journal.write_end("k", attempt(2, Status::interrupted, Decision::again));
    CHECK(journal.history("k").recorded->status == Status::oom_gpu);
    CHECK(journal.history("k").attempts == 1);
    journal.write_start("k", 3, "n", "t", {});
    journal.write_end("k", attempt(3, Status::ok));
    CHECK(journal.history("k").recorded->status == Status::ok);
    CHECK(journal.history("k").failures == 1);
}

TEST_CASE("the speed of a GPU's matrix product is kept by GPU and precision") {
    const TempFolder folder;
    {
        Journal journal = Journal::open(folder / "j");
        journal.write_header(setting());
        journal.write_probe({"GPU-1", "NVIDIA H200", Precision::bf16, 712.5, {1.5, 1.6}});
        CHECK(journal.attainable_tflops("GPU-1", Precision::bf16) == 712.5);
    }
    const Journal journal = Journal::read(folder / "j");
    CHECK(journal.attainable_tflops("GPU-1", Precision::bf16) == 712.5);
    CHECK_FALSE(journal.attainable_tflops("GPU-1", Precision::fp32).has_value());
    CHECK_FALSE(journal.attainable_tflops("GPU-2", Precision::bf16).has_value());
}

TEST_CASE("records of a kind from a later version are kept, not refused") {
    const TempFolder folder;
    write_sample(folder / "j");
    write_file(folder / "k", file_contents(folder / "j") + "{\"record\":\"weather\",\"x\":1}\n");
    CHECK(Journal::open(folder / "k").history("k1").is_done());
}

TEST_CASE("what is added to a journal is read without what was there before") {
    const TempFolder folder;
    Journal watched = Journal::watch(folder / "j");
    CHECK_FALSE(watched.read_further());
    CHECK_FALSE(watched.last_record_ms());
    write_sample(folder / "whole");
    const std::string text = file_contents(folder / "whole");
    std::size_t lines = 0;
    for (std::size_t length = 1; length <= text.size(); ++length) {
        CAPTURE(length);
        write_file(folder / "j", text.substr(0, length));
        const bool is_line = text[length - 1] == '\n';
        CHECK(watched.read_further() == is_line);
        if (is_line) ++lines;
    }
    CHECK(watched.history("k1").attempts == 2);
    CHECK(watched.history("k2").open);
    CHECK(watched.last_record_ms() == Journal::read(folder / "whole").last_record_ms());
    CHECK_FALSE(watched.read_further());
    write_file(folder / "j", text + "scribble\n");
    try {
        watched.read_further();
        FAIL("read");
    } catch (const ResultsError& error) {
        CHECK(std::string(error.what()).find(":" + std::to_string(lines + 1) + ": not a record") !=
              std::string::npos);
    }
}

TEST_CASE("where another journal comes in the place of one that is watched, it alone counts") {
    const TempFolder folder;
    write_sample(folder / "j");
    Journal watched = Journal::watch(folder / "j");
    CHECK(watched.read_further());
    std::filesystem::rename(folder / "j", folder / "old");
    CHECK(watched.read_further());
    CHECK(watched.cells().empty());
    CHECK_FALSE(watched.read_further());
    Journal other = Journal::open(folder / "j");
    other.write_header(setting());
    other.write_start("k9", 1, "n", "t", {});
    CHECK(watched.read_further());
    CHECK(watched.cells().size() == 1);
    CHECK(watched.history("k9").open);
}
