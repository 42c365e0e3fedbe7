#include "output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <system_error>
#include <utility>

namespace isosweep {
namespace {

constexpr int exit_terminated = 70;  // EX_SOFTWARE of sysexits.h

// What the terminate handler needs, ready: it must not allocate.
int last_words_fd = -1;
std::string last_words;

[[noreturn]] void terminated() {
    if (last_words_fd >= 0 && !last_words.empty())
        static_cast<void>(!::write(last_words_fd, last_words.data(), last_words.size()));
    ::_exit(exit_terminated);
}

}  // namespace

ResultOutput::ResultOutput() {
    std::fflush(stdout);
    fd_ = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd_ < 0 || ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        throw std::system_error(errno, std::generic_category(), "taking over standard output");
    std::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is an error of write()
}

ResultOutput::~ResultOutput() {
    last_words_fd = -1;
    std::fflush(stdout);
    ::dup2(fd_, STDOUT_FILENO);
    ::close(fd_);
}

void ResultOutput::write(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(fd_, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0)
            throw std::system_error(errno, std::generic_category(), "writing a result");
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

void ResultOutput::set_last_words(std::string line) {
    last_words = std::move(line);
    last_words_fd = fd_;
    std::set_terminate(terminated);
}

}  // namespace isosweep
