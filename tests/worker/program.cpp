#include "program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

namespace isosweep {
namespace {

std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
    std::vector<char*> pointers;
    for (std::string& string : strings) pointers.push_back(string.data());
    pointers.push_back(nullptr);
    return pointers;
}

std::vector<std::string> environment(bool with_cuda) {
    std::vector<std::string> variables;
    for (char** variable = environ; *variable != nullptr; ++variable)
        if (with_cuda || !std::string_view(*variable).starts_with("CUDA_VISIBLE_DEVICES="))
            variables.emplace_back(*variable);
    if (!with_cuda) variables.emplace_back("CUDA_VISIBLE_DEVICES=");
    return variables;
}

}  // namespace

std::vector<std::string> ProgramRun::out_lines() const {
    std::vector<std::string> lines;
    std::istringstream stream(out);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

ProgramRun run_worker(const std::vector<std::string>& arguments, const std::string& input,
                      bool with_cuda) {
    const TemporaryFolder folder;
    std::ofstream(folder.file("in"), std::ios::binary) << input;

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    constexpr int create = O_WRONLY | O_CREAT | O_TRUNC;
    posix_spawn_file_actions_addopen(&actions, 0, folder.file("in").c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, folder.file("out").c_str(), create, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, folder.file("err").c_str(), create, 0600);
    // The variable names the worker where the build was carried to another machine.
    const char* elsewhere = std::getenv("ISOSWEEP_TEST_WORKER");
    std::vector<std::string> words{elsewhere != nullptr ? elsewhere : ISOSWEEP_WORKER};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables = environment(with_cuda);
    pid_t pid = 0;
    const int problem = ::posix_spawn(&pid, words[0].c_str(), &actions, nullptr,
                                      pointers_to(words).data(), pointers_to(variables).data());
    posix_spawn_file_actions_destroy(&actions);
    if (problem != 0) throw std::system_error(problem, std::generic_category(), words[0]);

    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
            .out = content_of(folder.file("out")),
            .err = content_of(folder.file("err"))};
}

TemporaryFolder::TemporaryFolder() {
    path_ = (std::filesystem::temp_directory_path() / "isosweep-test-XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr)
        throw std::system_error(errno, std::generic_category(), path_);
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace isosweep
