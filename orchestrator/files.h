#pragma once

#include <cstdint>
#include <filesystem>
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

/// A lock on an output, held until the object goes. The kernel frees it when the process ends,
/// however it ends; the file stays.
class OutputLock {
  public:
    /// Takes the lock and writes who holds it into the file.
    /// \throws LockedError naming the holder's pid, host and start; ResultsError
    explicit OutputLock(const std::filesystem::path& file);

    /// Whether some process holds the lock now.
    static bool is_held(const std::filesystem::path& file);

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

/// Replaces `file` by `content`, so that at any moment either the old or the new text is there
/// whole.
/// \throws ResultsError
void write_atomically(const std::filesystem::path& file, std::string_view content);

/// The whole of a file. \throws ResultsError
std::string read_file(const std::filesystem::path& file);

/// Opens /dev/null on descriptors 0 to 2 where they are closed, so that no pipe of ours lands
/// there.
void reserve_standard_descriptors();

}  // namespace isosweep
