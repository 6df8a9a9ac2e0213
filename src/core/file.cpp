#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {
namespace {

std::string reason() {
  return std::strerror(errno);
}

[[noreturn]] void write_failed(const std::filesystem::path& path) {
  throw ResourceError("cannot write: " + reason(), path.string(),
                      "free space on that file system or choose another");
}

std::uint64_t regular_file_size(int descriptor, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0)
    throw InputError("cannot read: " + reason(), path.string(), "check the file");
  if (!S_ISREG(status.st_mode)) {
    throw InputError("is not a regular file", path.string(), "give the path of a file");
  }
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

FileDescriptor::FileDescriptor(const std::filesystem::path& path, int flags) : path_(path) {
  descriptor_ = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (descriptor_ >= 0) return;
  if ((flags & O_ACCMODE) == O_RDONLY) {
    throw InputError("cannot open: " + reason(), path.string(), "check the path and its permissions");
  }
  throw ResourceError("cannot open for writing: " + reason(), path.string(),
                      "check the folder and its permissions");
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileDescriptor::write_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(descriptor_, bytes.data(), std::min<std::size_t>(bytes.size(), std::size_t{1} << 30),
                 static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) write_failed(path_);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void FileDescriptor::sync() {
  if (::fsync(descriptor_) != 0) write_failed(path_);
}

std::string read_file(const std::filesystem::path& path, std::uint64_t limit) {
  FileDescriptor file(path, O_RDONLY);
  const std::uint64_t size = regular_file_size(file.get(), path);
  if (size > limit) {
    throw InputError(
        fmt::format("is {}, more than the {} expected of such a file", human_bytes(size), human_bytes(limit)),
        path.string(), "check that this is the right file");
  }
  std::string content(size, '\0');
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(file.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw InputError("cannot read: " + reason(), path.string(), "check the file");
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  content.resize(done);
  return content;
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  FileDescriptor file(path, O_RDONLY);
  size_ = regular_file_size(file.get(), path);
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) {
    throw ResourceError("cannot map the file: " + reason(), path.string(),
                        "check the limit on address space (ulimit -v)");
  }
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::filesystem::path part_path(const std::filesystem::path& path) {
  const std::filesystem::path bare = path.has_filename() ? path : path.parent_path();  // "X/" is X
  return bare.string() + ".part";
}

void publish_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  FileDescriptor(from, O_RDONLY).sync();
  if (std::rename(from.c_str(), to.c_str()) != 0) write_failed(to);
  const auto folder = std::filesystem::absolute(to).parent_path();
  FileDescriptor(folder, O_RDONLY | O_DIRECTORY).sync();
}

void write_file_atomically(const std::filesystem::path& path, const std::string& content) {
  const auto part = part_path(path);
  {
    FileDescriptor file(part, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(std::as_bytes(std::span(content)), 0);
  }
  publish_file(part, path);
}

std::uint64_t free_disk_bytes(const std::filesystem::path& path) {
  const auto folder = std::filesystem::absolute(path).parent_path();
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0) {
    throw ResourceError("cannot write there: " + reason(), folder.string(),
                        "create the folder or choose another");
  }
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

}  // namespace galapagos
