// Preloaded into `isosweep` (LD_PRELOAD), it lets the system calls that make results durable fail,
// or kills the program beside them. Only calls on files count whose path holds FAULT_PATH:
//
//     FAULT_AT=N         the Nth of them (from 1) is the one; 0: none, they are only counted
//     FAULT_ACTION       kill_before, kill_after, kill_half (a write is done by half, then the
//     kill),
//                        or an error: ENOSPC, EIO. Errors stay: every later call fails, too
//     FAULT_COUNT=FILE   gets a byte for each call
//
// The calls: write, fsync, fdatasync, rename.

#include <dlfcn.h>
#include <errno.h>  // NOLINT(modernize-deprecated-headers): program_invocation_short_name
#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

template <class Function>
Function* next(const char* name) {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
}

bool is_ours() {
    static const bool ours = std::string_view(program_invocation_short_name) == "isosweep";
    return ours;
}

bool matches(const std::string& path) {
    static const std::string part = variable("FAULT_PATH");
    return is_ours() && path.find(part) != std::string::npos;
}

std::string path_of(int fd) {
    std::array<char, 4096> path{};
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t size = ::readlink(link.c_str(), path.data(), path.size() - 1);
    return size > 0 ? std::string(path.data(), static_cast<std::size_t>(size)) : "";
}

enum class Fault { none, before, half, after, error };

/// What befalls the call that is about to happen.
Fault next_fault() {
    static const long at = std::stol("0" + variable("FAULT_AT"));
    static const std::string action = variable("FAULT_ACTION");
    static long calls = 0;
    static const int counter =
        ::open(variable("FAULT_COUNT").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    ++calls;
    if (counter >= 0)
        static_cast<void>(next<ssize_t(int, const void*, size_t)>("write")(counter, ".", 1));
    const bool is_error = action == "ENOSPC" || action == "EIO";
    if (at == 0 || (is_error ? calls < at : calls != at)) return Fault::none;
    if (is_error) {
        errno = action == "EIO" ? EIO : ENOSPC;
        return Fault::error;
    }
    if (action == "kill_half") return Fault::half;
    return action == "kill_after" ? Fault::after : Fault::before;
}

[[noreturn]] void die() {
    ::kill(::getpid(), SIGKILL);
    while (true) ::pause();
}

/// Does `call` under the next fault. `half`: what is done of it where the kill comes in between.
template <class Call, class Half>
auto under_fault(const Call& call, const Half& half) -> decltype(call()) {
    switch (next_fault()) {
        case Fault::none:
            break;
        case Fault::before:
            die();
        case Fault::half:
            half();
            die();
        case Fault::after:
            call();
            die();
        case Fault::error:
            return -1;
    }
    return call();
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
    static const auto real = next<ssize_t(int, const void*, size_t)>("write");
    if (!is_ours() || fd <= 2 || !matches(path_of(fd))) return real(fd, bytes, size);
    return under_fault([&] { return real(fd, bytes, size); },
                       [&] { static_cast<void>(real(fd, bytes, size / 2)); });
}

int fsync(int fd) {
    static const auto real = next<int(int)>("fsync");
    if (!matches(path_of(fd))) return real(fd);
    return under_fault([&] { return real(fd); }, [] {});
}

int fdatasync(int fd) {
    static const auto real = next<int(int)>("fdatasync");
    if (!matches(path_of(fd))) return real(fd);
    return under_fault([&] { return real(fd); }, [] {});
}

int rename(const char* from, const char* to) {
    static const auto real = next<int(const char*, const char*)>("rename");
    if (!matches(to)) return real(from, to);
    return under_fault([&] { return real(from, to); }, [] {});
}

}  // extern "C"
