#include "orchestrator/files.h"

#include <fcntl.h>
#include <isosweep/text.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <span>
#include <thread>

#include "orchestrator/clock.h"
#include "orchestrator/errors.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail(const std::string& doing, const fs::path& what) {
    const int problem = errno;
    throw ResultsError("cannot " + doing + " " + what.string() + ": " + std::strerror(problem));
}

fs::path folder_of(const fs::path& file) {
    return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

/// Reads into `bytes` from `offset` on, until they are full or the file ends. \returns how many
std::size_t read_at(int fd, std::uint64_t offset, std::span<char> bytes, const fs::path& file) {
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t got = ::pread(fd, bytes.data() + done, bytes.size() - done,
                                    static_cast<off_t>(offset + done));
        if (got == 0) break;
        if (got > 0)
            done += static_cast<std::size_t>(got);
        else if (errno != EINTR)
            fail("read", file);
    }
    return done;
}

std::string read_descriptor(int fd, const fs::path& file) {
    std::string content;
    std::array<char, 65536> buffer;
    while (true) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got > 0) {
            content.append(buffer.data(), static_cast<std::size_t>(got));
        } else if (got == 0) {
            return content;
        } else if (errno != EINTR) {
            fail("read", file);
        }
    }
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
        if (fd_ >= 0) ::close(fd_);
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

FileDescriptor::~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
}

OutputLock::OutputLock(const fs::path& file)
    : fd_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (!fd_) fail("open the lock", file);
    bool is_ours = ::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0;
    // A run that was killed while it started a worker leaves the lock to that child, which is about
    // to die: a moment later it is free.
    for (int tries = 0; !is_ours && errno == EWOULDBLOCK && tries < 40; ++tries) {
        std::this_thread::sleep_for(std::chrono::milliseconds(25));
        is_ours = ::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0;
    }
    if (!is_ours) {
        if (errno != EWOULDBLOCK) fail("lock", file);
        const std::string holder(one_line(read_descriptor(fd_.get(), file)));
        throw LockedError("another run holds " + folder_of(file).string() + ": " +
                          (holder.empty() ? "its holder is unknown" : holder) +
                          "; wait for it, or choose another --output");
    }
    const std::string holder = "pid " + std::to_string(::getpid()) + " on " + host_name() +
                               " since " + format_utc(unix_now_ms()) + "\n";
    if (::ftruncate(fd_.get(), 0) != 0) fail("write", file);
    write_all(fd_, holder, file);
}

OutputLock::~OutputLock() {
    // Who looks from another machine sees the text alone.
    [[maybe_unused]] const int ignored = ::ftruncate(fd_.get(), 0);
}

LockState OutputLock::look(const fs::path& file) {
    const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return {};
    // The text first: whoever takes the lock in between is then seen to hold it.
    std::string holder(trim(read_descriptor(fd.get(), file)));
    return {::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK, std::move(holder)};
}

FileDescriptor open_for_append(const fs::path& file) {
    FileDescriptor fd(::open(file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
    if (!fd) fail("open", file);
    return fd;
}

void write_all(const FileDescriptor& fd, std::string_view bytes, const fs::path& file) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd.get(), bytes.data(), bytes.size());
        if (written < 0) {
            if (errno == EINTR) continue;
            fail("write", file);
        }
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

void sync_data(const FileDescriptor& fd, const fs::path& file) {
    if (::fdatasync(fd.get()) != 0) fail("make durable", file);
}

void sync_folder(const fs::path& folder) {
    const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) fail("open", folder);
    // Some network file systems know no sync of folders and say EINVAL.
    if (::fsync(fd.get()) != 0 && errno != EINVAL) fail("make durable", folder);
}

void make_folder(const fs::path& folder) {
    std::error_code problem;
    fs::create_directories(folder, problem);
    if (problem || !fs::is_directory(folder, problem))
        throw ResultsError("cannot make the folder " + folder.string() + ": " +
                           (problem ? problem.message() : "something else has that name"));
}

void make_subfolder(const fs::path& folder) {
    std::error_code problem;
    fs::create_directory(folder, problem);
    if (problem || !fs::is_directory(folder, problem))
        throw ResultsError("cannot make the folder " + folder.string() + ": " +
                           (problem ? problem.message() : "something else has that name"));
}

void cut_file(const FileDescriptor& fd, std::uint64_t size, const fs::path& file) {
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) fail("cut", file);
}

void check_still_there(const FileDescriptor& fd, const fs::path& file) {
    struct stat open{};
    struct stat named{};
    if (::fstat(fd.get(), &open) != 0) fail("look at", file);
    if (::stat(file.c_str(), &named) != 0 || open.st_ino != named.st_ino ||
        open.st_dev != named.st_dev)
        throw ResultsError(file.string() + " was removed or moved away while it was written to");
}

Replacement::Replacement(const fs::path& target)
    // A link is kept; what it points to is replaced.
    : file_(fs::is_symlink(target) ? fs::weakly_canonical(target) : target),
      // A fixed name, safe under the output's lock: names with a pid would pile up after crashes.
      temporary_(folder_of(file_) / ("." + file_.filename().string() + ".tmp")) {
    if (fs::is_directory(file_)) {
        errno = EISDIR;
        fail("replace", file_);
    }
    fd_ =
        FileDescriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd_) fail("write", temporary_);
}

Replacement::~Replacement() {
    if (fd_) ::unlink(temporary_.c_str());
}

void Replacement::write(std::string_view part) { write_all(fd_, part, temporary_); }

void Replacement::commit() {
    if (::fsync(fd_.get()) != 0) fail("make durable", temporary_);
    if (::rename(temporary_.c_str(), file_.c_str()) != 0) fail("replace", file_);
    fd_ = FileDescriptor();
    sync_folder(folder_of(file_));
}

void write_atomically(const fs::path& file, std::string_view content) {
    Replacement replacement(file);
    replacement.write(content);
    replacement.commit();
}

std::string read_file(const fs::path& file) {
    const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) fail("read", file);
    return read_descriptor(fd.get(), file);
}

FileDescriptor open_for_reading(const fs::path& file) {
    FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd && errno != ENOENT) fail("read", file);
    return fd;
}

FileFacts facts_of(const FileDescriptor& fd, const fs::path& file) {
    struct stat facts{};
    if (::fstat(fd.get(), &facts) != 0) fail("look at", file);
    return {static_cast<std::uint64_t>(facts.st_size), facts.st_ino};
}

std::string read_part(const FileDescriptor& fd, std::uint64_t offset, std::size_t size,
                      const fs::path& file) {
    std::string part(size, '\0');
    part.resize(read_at(fd.get(), offset, part, file));
    if (part.size() < size)
        throw ResultsError(file.string() + " has become shorter while it was read");
    return part;
}

void read_lines(const FileDescriptor& fd, std::uint64_t offset, const fs::path& file,
                const std::function<void(std::string_view lines)>& take) {
    constexpr std::size_t block = 1 << 20;
    std::string buffer(block, '\0');
    std::size_t kept = 0;  // bytes at its front that are the begin of a line
    while (true) {
        if (kept == buffer.size()) buffer.resize(2 * kept);  // a line longer than that
        const std::size_t got = read_at(fd.get(), offset, std::span(buffer).subspan(kept), file);
        if (got == 0) return;
        offset += got;
        const std::string_view read(buffer.data(), kept + got);
        const std::size_t whole = read.rfind('\n') + 1;  // 0 where there is no newline at all
        take(read.substr(0, whole));
        kept = read.size() - whole;
        std::memmove(buffer.data(), buffer.data() + whole, kept);
    }
}

std::string host_name() {
    std::array<char, 256> name{};
    ::gethostname(name.data(), name.size() - 1);
    return name.data();
}

bool print(std::string_view text) {
    const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    if (written && std::fflush(stdout) == 0) return true;
    if (errno != EPIPE) throw ResultsError("cannot write to stdout");
    return false;
}

void reserve_standard_descriptors() {
    int fd = ::open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < 3) fd = ::open("/dev/null", O_RDWR);
    if (fd >= 3) ::close(fd);
}

}  // namespace isosweep
