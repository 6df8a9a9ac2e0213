#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace galapagos {

/// A whole file as bytes; InputError where it is missing, not a regular file, unreadable or above `limit`
/// bytes.
std::string read_file(const std::filesystem::path& path, std::uint64_t limit = std::uint64_t{1} << 32);

/// A POSIX file descriptor that closes itself.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  /// open(2) with the given flags and mode 0644. Throws InputError (reading) or ResourceError (writing, or
  /// where the node or the file server falls short).
  FileDescriptor(const std::filesystem::path& path, int flags);
  FileDescriptor(FileDescriptor&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return descriptor_; }
  /// Writes all of `bytes` at `offset`. ResourceError on a full disk or quota.
  void write_at(std::span<const std::byte> bytes, std::uint64_t offset);
  /// All of `bytes` from `offset` on; InputError where the file is shorter.
  void read_at(std::span<std::byte> bytes, std::uint64_t offset) const;
  /// fsync(2), where the file system has it; ResourceError where the data cannot reach the disk.
  void sync();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// A whole file mapped read-only, or read into memory where the file system cannot map it, which is a
/// warning. An empty file maps to an empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Makes a folder and those above it, where they are not there yet. InputError where there can be none,
/// ResourceError where the file system falls short.
void make_folders(const std::filesystem::path& folder);

/// The name a file bears while it is being written: `X.part`.
std::filesystem::path part_path(const std::filesystem::path& path);

/// fsync of a folder, where the file system has it; ResourceError where it fails.
void sync_folder(const std::filesystem::path& folder);

/// Gives a finished, closed file its final name: fsync of the file, rename, fsync of the folder.
/// ResourceError on failure.
void publish_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// The same for a folder and all that is in it, which may come from another folder.
void publish_folder(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes `content` to `path` through `path.part` and publish_file: never half a file under its final name.
void write_file_atomically(const std::filesystem::path& path, const std::string& content);

/// Bytes free for an ordinary user on the file system that holds (or would hold) `path`.
std::uint64_t free_disk_bytes(const std::filesystem::path& path);

}  // namespace galapagos
