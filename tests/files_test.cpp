#include "orchestrator/files.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <isosweep/text.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/cell_log.h"
#include "orchestrator/errors.h"
#include "temp_folder.h"

using namespace isosweep;
using isosweep::tests::file_contents;
using isosweep::tests::TempFolder;

TEST_CASE("a file is replaced whole, and a place that cannot be written is named") {
    const TempFolder folder;
    write_atomically(folder / "a.csv", "one\n");
    write_atomically(folder / "a.csv", "two\n");
    CHECK(file_contents(folder / "a.csv") == "two\n");
    CHECK_FALSE(std::filesystem::exists(folder / ".a.csv.tmp"));
    CHECK_THROWS_WITH_AS(write_atomically("/proc/none/a.csv", ""),
                         "cannot write /proc/none/.a.csv.tmp: No such file or directory",
                         ResultsError);
    tests::write_file(folder / "file", "");
    CHECK_THROWS_AS(make_folder(folder / "file" / "below"), ResultsError);
}

TEST_CASE("what is not put in its place leaves the old file and nothing beside it") {
    const TempFolder folder;
    write_atomically(folder / "a.csv", "one\n");
    {
        Replacement replacement(folder / "a.csv");
        replacement.write("two\n");
    }
    CHECK(file_contents(folder / "a.csv") == "one\n");
    CHECK_FALSE(std::filesystem::exists(folder / ".a.csv.tmp"));
    std::filesystem::create_directory(folder / "b.csv");
    CHECK_THROWS_WITH_AS(
        Replacement(folder / "b.csv"),
        ("cannot replace " + (folder / "b.csv").string() + ": Is a directory").c_str(),
        ResultsError);
}

TEST_CASE("a file is read line by line, however long the file and its lines are") {
    const TempFolder folder;
    std::string text = "short\n" + std::string(3'000'000, 'x') + "\n\n";
    for (int i = 0; i < 300'000; ++i) text += std::to_string(i) + "\n";
    tests::write_file(folder / "file", text + "not whole");
    const FileDescriptor fd = open_for_reading(folder / "file");
    std::string lines;
    read_lines(fd, 0, folder / "file", [&](std::string_view part) {
        CHECK((part.empty() || part.back() == '\n'));
        lines += part;
    });
    CHECK(lines == text);
    lines.clear();
    read_lines(fd, 6, folder / "file", [&](std::string_view part) { lines += part; });
    CHECK(lines == text.substr(6));
    CHECK(read_part(fd, 0, 5, folder / "file") == "short");
    CHECK_THROWS_AS(read_part(fd, text.size(), 10, folder / "file"), ResultsError);
    CHECK_FALSE(open_for_reading(folder / "none"));
}

TEST_CASE("a lock keeps others out, names its holder, and goes with its process") {
    const TempFolder folder;
    CHECK_FALSE(OutputLock::look(folder / "lock").is_held);
    {
        const OutputLock lock(folder / "lock");
        CHECK(OutputLock::look(folder / "lock").is_held);
        try {
            const OutputLock second(folder / "lock");
            FAIL("two locks");
        } catch (const LockedError& error) {
            const std::string text = error.what();
            CHECK(text.find("pid " + std::to_string(::getpid()) + " on ") != std::string::npos);
            CHECK(text.find("another run holds " + folder.path().string()) == 0);
        }
    }
    CHECK_FALSE(OutputLock::look(folder / "lock").is_held);
    if (const pid_t child = ::fork(); child == 0) {
        const OutputLock lock(folder / "lock");
        ::_exit(0);  // no destructor runs, as after a SIGKILL
    } else {
        ::waitpid(child, nullptr, 0);
    }
    CHECK_FALSE(OutputLock::look(folder / "lock").is_held);
    const OutputLock again(folder / "lock");
}

TEST_CASE("a long log keeps its head and its tail") {
    const TempFolder folder;
    CellLog log(folder / "cell/attempt-1.log");
    log.write("first line\n");
    const std::string filler(100'000, 'x');
    for (int i = 0; i < 40; ++i) log.write(filler);
    log.write("\nlast\n\nline\n");
    CHECK(log.last_words().ends_with("x... | last | line"));
    log.close();
    const std::string text = file_contents(folder / "cell/attempt-1.log");
    CHECK(text.size() < 2 * CellLog::head_bytes + 100);
    CHECK(text.starts_with("first line\n"));
    CHECK(text.ends_with("\nlast\n\nline\n"));
    CHECK(text.find(" bytes left out ...]\n") != std::string::npos);
}

TEST_CASE("a quiet worker leaves no log") {
    const TempFolder folder;
    CellLog log(folder / "cell/attempt-1.log");
    log.close();
    CHECK_FALSE(std::filesystem::exists(folder / "cell"));
}
