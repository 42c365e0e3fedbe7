#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace isosweep {

/// A file descriptor that closes itself.
class FileDescriptor {
  public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept;
    ~FileDescriptor();

    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

/// What can be seen of a lock.
struct LockState {
    /// Whether the kernel of this machine knows that some process holds it. It does not know of
    /// other machines on every shared folder.
    bool is_held = false;
    /// Who took it last and did not let go by itself: "pid 4078 on vm since 2026-11-22T21:53:23Z".
    std::string holder;

    bool operator==(const LockState&) const = default;
};

/// A lock on an output, held until the object goes. The kernel frees it when the process ends,
/// however it ends; the file stays.
class OutputLock {
  public:
    /// Takes the lock and writes who holds it into the file.
    /// \throws LockedError naming the holder's pid, host and start; ResultsError
    explicit OutputLock(const std::filesystem::path& file);

    /// Lets go, and no longer says who holds it.
    ~OutputLock();

    /// What can be seen of a lock without touching it.
    static LockState look(const std::filesystem::path& file);

  private:
    FileDescriptor fd_;
};

/// Opens a file for appending, created where missing, closed on exec. \throws ResultsError
FileDescriptor open_for_append(const std::filesystem::path& file);

/// Writes all of `bytes` or throws. \throws ResultsError naming `file`
void write_all(const FileDescriptor& fd, std::string_view bytes, const std::filesystem::path& file);

/// Makes what was written to `fd` durable. A failed sync is final: the pages may be gone.
/// \throws ResultsError
void sync_data(const FileDescriptor& fd, const std::filesystem::path& file);

/// Makes the creation or renaming of an entry of `folder` durable. \throws ResultsError
void sync_folder(const std::filesystem::path& folder);

/// Creates a folder and its parents. \throws ResultsError
void make_folder(const std::filesystem::path& folder);

/// Creates a folder in one that is there: one that was removed is not made anew. \throws
/// ResultsError
void make_subfolder(const std::filesystem::path& folder);

/// Cuts a file back to its first `size` bytes. \throws ResultsError
void cut_file(const FileDescriptor& fd, std::uint64_t size, const std::filesystem::path& file);

/// Checks that what is written to `fd` can still be found under its name. \throws ResultsError
void check_still_there(const FileDescriptor& fd, const std::filesystem::path& file);

/// A file that takes the place of another one when it is whole, so that at any moment either the
/// old or the new text is there whole.
class Replacement {
  public:
    /// Begins it beside `target`. \throws ResultsError also where `target` cannot be replaced
    explicit Replacement(const std::filesystem::path& target);
    /// Takes away what was not committed.
    ~Replacement();
    Replacement(const Replacement&) = delete;
    Replacement& operator=(const Replacement&) = delete;

    /// \throws ResultsError
    void write(std::string_view part);
    /// Makes it durable and puts it in its place. \throws ResultsError
    void commit();

  private:
    std::filesystem::path file_;
    std::filesystem::path temporary_;
    FileDescriptor fd_;
};

/// Replaces `file` by `content` in the same way. \throws ResultsError
void write_atomically(const std::filesystem::path& file, std::string_view content);

/// The whole of a file. \throws ResultsError
std::string read_file(const std::filesystem::path& file);

/// Opens a file for reading. \returns none where there is no such file \throws ResultsError
FileDescriptor open_for_reading(const std::filesystem::path& file);

struct FileFacts {
    std::uint64_t size = 0;
    std::uint64_t inode = 0;  ///< tells it from another one of the same name
};

/// \throws ResultsError
FileFacts facts_of(const FileDescriptor& fd, const std::filesystem::path& file);

/// Some bytes of a file. \throws ResultsError, also where it has not so many
std::string read_part(const FileDescriptor& fd, std::uint64_t offset, std::size_t size,
                      const std::filesystem::path& file);

/// Calls `take` with the lines of a file from `offset` on, each whole and with its newline, many at
/// a time, so that a large file is never in memory as a whole. What stands behind the last newline
/// is no line. \throws ResultsError, and what `take` does
void read_lines(const FileDescriptor& fd, std::uint64_t offset, const std::filesystem::path& file,
                const std::function<void(std::string_view lines)>& take);

/// The name of this machine.
std::string host_name();

/// Writes to stdout. \returns false where nobody reads it any more, which is no failure (`| head`)
/// \throws ResultsError
bool print(std::string_view text);

/// Opens /dev/null on descriptors 0 to 2 where they are closed, so that no pipe of ours lands
/// there.
void reserve_standard_descriptors();

}  // namespace isosweep
