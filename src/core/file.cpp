#include <algorithm>
#include <atomic>
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
#include <galapagos/core/file_remedy.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {
namespace {

std::string reason() {
  return std::strerror(errno);
}

[[noreturn]] void write_failed(const std::filesystem::path& path) {
  const int error = errno;
  throw ResourceError("cannot write: " + reason(), path.string(), remedy_for(error));
}

[[noreturn]] void read_failed(const char* what, const std::filesystem::path& path) {
  const int error = errno;
  const std::string said = fmt::format("cannot {}: {}", what, reason());
  if (is_shortage(error)) throw ResourceError(said, path.string(), remedy_for(error));
  throw InputError(said, path.string(), remedy_for(error));
}

/// Whether fsync failed as there is nothing like it there, and not as data is lost.
bool has_no_sync(int error) {
  return error == EINVAL || error == EOPNOTSUPP || error == ENOSYS;
}

std::uint64_t regular_file_size(int descriptor, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) read_failed("read", path);
  if (!S_ISREG(status.st_mode)) {
    throw InputError("is not a regular file", path.string(), "give the path of a file");
  }
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

FileDescriptor::FileDescriptor(const std::filesystem::path& path, int flags) : path_(path) {
  descriptor_ = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (descriptor_ >= 0) return;
  if ((flags & O_ACCMODE) == O_RDONLY) read_failed("open", path);
  const int error = errno;
  throw ResourceError("cannot open for writing: " + reason(), path.string(), remedy_for(error));
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
  if (::fsync(descriptor_) != 0 && !has_no_sync(errno)) write_failed(path_);
}

void FileDescriptor::read_at(std::span<std::byte> bytes, std::uint64_t offset) const {
  while (!bytes.empty()) {
    const ssize_t got =
        ::pread(descriptor_, bytes.data(), std::min<std::size_t>(bytes.size(), std::size_t{1} << 30),
                static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) read_failed("read", path_);
    if (got == 0)
      throw InputError("the file has become shorter", path_.string(),
                       "do not write to it while it is in use");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
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
    if (got < 0) read_failed("read", path);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  content.resize(done);
  return content;
}

namespace {

/// A file system need not map, or only to one process; and where it has no pages to show it is read. Null
/// where it is not mapped.
void* map(const FileDescriptor& file, std::size_t size, const std::filesystem::path& path) {
  for (const int sharing : {MAP_SHARED, MAP_PRIVATE}) {
    void* mapped = ::mmap(nullptr, size, PROT_READ, sharing, file.get(), 0);
    if (mapped != MAP_FAILED) return mapped;
    if (errno == ENOMEM || errno == EMFILE || errno == ENFILE || errno == EAGAIN) {
      const int error = errno;
      throw ResourceError("cannot map the file: " + reason(), path.string(), remedy_for(error));
    }
  }
  static std::atomic<bool> said = false;
  const std::string why = reason();
  if (!said.exchange(true))
    log_warning("{} cannot be mapped ({}): it, and what lies there, is read into memory", path.string(), why);
  return nullptr;
}

/// The file in memory that is given back as a mapping is.
void* read_whole(const FileDescriptor& file, std::size_t size, const std::filesystem::path& path) {
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw ResourceError("no memory to read the file into", path.string(),
                        "copy it to a file system that maps files, or use fewer ranks on a node");
  }
  try {
    file.read_at({static_cast<std::byte*>(memory), size}, 0);
  } catch (...) {
    ::munmap(memory, size);
    throw;
  }
  return memory;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const FileDescriptor file(path, O_RDONLY);
  size_ = regular_file_size(file.get(), path);
  if (size_ == 0) return;
  void* bytes = map(file, size_, path);
  if (bytes == nullptr) bytes = read_whole(file, size_, path);
  data_ = static_cast<const std::byte*>(bytes);
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

void make_folders(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && !std::filesystem::is_directory(folder))
    error = std::make_error_code(std::errc::not_a_directory);
  if (!error) return;
  const std::string said = "cannot make the folder: " + error.message();
  if (is_shortage(error.value())) throw ResourceError(said, folder.string(), remedy_for(error.value()));
  throw InputError(said, folder.string(), remedy_for(error.value()));
}

void publish_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  FileDescriptor(from, O_RDONLY).sync();
  if (std::rename(from.c_str(), to.c_str()) != 0) write_failed(to);
  sync_folder(std::filesystem::absolute(to).parent_path());
}

void publish_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(from)) {
    if (entry.is_directory()) {
      sync_folder(entry.path());
    } else if (entry.is_regular_file()) {
      FileDescriptor(entry.path(), O_RDONLY).sync();
    }
  }
  sync_folder(from);
  if (std::rename(from.c_str(), to.c_str()) != 0) write_failed(to);
  for (const auto& path : {from, to}) sync_folder(std::filesystem::absolute(path).parent_path());
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int error = synced ? 0 : errno;
  if (descriptor >= 0) ::close(descriptor);
  // Not every file system syncs folders, and one that may be written to need not be readable.
  if (synced || has_no_sync(error) || error == EACCES || error == EPERM || error == EBADF) return;
  errno = error;
  write_failed(folder);
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
    const int error = errno;
    throw ResourceError("cannot write there: " + reason(), folder.string(),
                        error == ENOENT ? "create the folder or choose another" : remedy_for(error));
  }
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

}  // namespace galapagos
