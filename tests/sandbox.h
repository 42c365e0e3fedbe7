#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "orchestrator/table.h"
#include "temp_folder.h"

namespace isosweep::tests {

/// How a command ended and what it said.
struct Ran {
    int exit_code = -1;  ///< -1: by a signal
    int signal = 0;
    std::string out;
    std::string err;
};

/// A folder with a config x.cfg that the fake worker serves, and `isosweep` run in it.
class Sandbox {
  public:
    explicit Sandbox(const std::string& config, const std::string& worker = FAKE_WORKER,
                     const std::string& size = "model-size = tiny\n") {
        write_file(folder_ / "x.cfg", size + (worker.empty() ? "" : "worker = " + worker + "\n") +
                                          "timeout = 20s\nkill-grace = 300ms\n" + config);
        variables_ = {"FAKE_WORKER_DIR=" + folder_.path().string()};
    }

    /// One with a GPU, where the fake worker stands beside `isosweep` as our own does for a user.
    static std::unique_ptr<Sandbox> with_gpu(const std::string& config) {
        auto sandbox = std::make_unique<Sandbox>(config, "");
        const std::filesystem::path bin = sandbox->path("bin");
        std::filesystem::create_directory(bin);
        std::filesystem::copy_file(ISOSWEEP_PROGRAM, bin / "isosweep");
        std::filesystem::copy_file(FAKE_WORKER, bin / "isosweep-worker");
        sandbox->program_ = (bin / "isosweep").string();
        sandbox->use_fake_gpu();
        return sandbox;
    }

    void use_fake_gpu() {
        set_variable("LD_LIBRARY_PATH=" + std::filesystem::path(FAKE_NVML).parent_path().string());
        set_variable("CUDA_VISIBLE_DEVICES=0");
    }

    void set_variable(const std::string& variable) { variables_.push_back(variable); }

    /// Starts `isosweep WORDS...` and returns its pid.
    pid_t start(std::vector<std::string> words) {
        words.insert(words.begin(), program_);
        return start_program(std::move(words));
    }

    /// Starts any program by its path, in the folder and with its streams in files.
    pid_t start_program(std::vector<std::string> words) {
        const pid_t pid = ::fork();
        if (pid != 0) return pid;
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        for (std::string& variable : variables_) ::putenv(variable.data());
        ::chdir(folder_.path().c_str());
        ::dup2(::open("out.txt", O_CREAT | O_TRUNC | O_WRONLY, 0644), 1);
        ::dup2(::open("err.txt", O_CREAT | O_TRUNC | O_WRONLY, 0644), 2);
        ::execv(argv[0], argv.data());
        ::_exit(127);
    }

    Ran wait(pid_t pid) const {
        int status = 0;
        ::waitpid(pid, &status, 0);
        Ran ran;
        if (WIFEXITED(status)) ran.exit_code = WEXITSTATUS(status);
        if (WIFSIGNALED(status)) ran.signal = WTERMSIG(status);
        ran.out = file_contents(folder_ / "out.txt");
        ran.err = file_contents(folder_ / "err.txt");
        return ran;
    }

    /// `isosweep WORDS...` on a terminal of 80 columns: what a person would see there, in `err`.
    Ran run_on_terminal(std::vector<std::string> words) {
        words.insert(words.begin(), ISOSWEEP_PROGRAM);
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        const winsize size{24, 80, 0, 0};
        int terminal = -1;
        const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, &size);
        if (pid == 0) {
            for (std::string& variable : variables_) ::putenv(variable.data());
            ::setenv("TERM", "xterm", 1);
            ::chdir(folder_.path().c_str());
            ::execv(argv[0], argv.data());
            ::_exit(127);
        }
        Ran ran;
        std::array<char, 4096> buffer{};
        // The read fails when the last process has closed the other side.
        for (ssize_t got = 0; (got = ::read(terminal, buffer.data(), buffer.size())) > 0;)
            ran.err.append(buffer.data(), static_cast<std::size_t>(got));
        ::close(terminal);
        int status = 0;
        ::waitpid(pid, &status, 0);
        if (WIFEXITED(status)) ran.exit_code = WEXITSTATUS(status);
        return ran;
    }

    Ran run(std::vector<std::string> words) { return wait(start(std::move(words))); }
    /// `isosweep run x.cfg FLAGS...`
    Ran sweep(std::vector<std::string> flags = {}) {
        flags.insert(flags.begin(), {"run", "x.cfg"});
        return run(std::move(flags));
    }

    /// A column of the CSV, top down, joined by blanks.
    std::string column(const std::string& name, const std::string& csv = "results/x.csv") const {
        const Table table = read_csv((folder_ / csv).string());
        std::string text;
        for (std::size_t row = 0; row < table.row_count(); ++row)
            text += (row > 0 ? " " : "") + std::get<std::string>(table.at(row, name));
        return text;
    }

    std::string file(const std::string& name) const { return file_contents(folder_ / name); }
    std::filesystem::path path(const std::string& name) const { return folder_ / name; }
    std::size_t answers() const {
        const std::string text = file("answered");
        return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
    }

    void wait_until(const std::function<bool()>& true_now) const {
        for (int i = 0; i < 2000 && !true_now(); ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        REQUIRE(true_now());
    }

  private:
    std::string program_ = ISOSWEEP_PROGRAM;
    TempFolder folder_;
    std::vector<std::string> variables_;
};

/// Runs a command of a test's own words. \returns whether it ended with 0
inline bool shell(const std::string& command) {
    return std::system(command.c_str()) == 0;  // NOLINT(bugprone-command-processor)
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace isosweep::tests
