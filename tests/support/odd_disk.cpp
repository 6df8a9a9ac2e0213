// A file system that lacks something, or is at fault: linked into a test program, or preloaded into the
// program, it stands before the calls of the C library. $ODD_DISK lists what goes wrong for files whose path
// holds $ODD_DISK_UNDER.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

/// The errno that stands behind `call`= in $ODD_DISK; 0 where it is not there.
int fault(const char* call) {
  const char* all = std::getenv("ODD_DISK");
  const char* found = all == nullptr ? nullptr : std::strstr(all, call);
  if (found == nullptr || found[std::strlen(call)] != '=') return 0;
  return std::atoi(found + std::strlen(call) + 1);
}

bool is_under(const char* path) {
  const char* folder = std::getenv("ODD_DISK_UNDER");
  return folder != nullptr && std::strstr(path, folder) != nullptr;
}

bool is_under(int descriptor) {
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = ::readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = 0;
  return is_under(path);
}

bool is_folder(int descriptor) {
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode);
}

/// Fails with that errno where there is one.
bool fails(int error) {
  if (error != 0) errno = error;
  return error != 0;
}

void* mapped(void* at, std::size_t size, int protection, int flags, int descriptor, off_t offset) {
  if (descriptor >= 0 && is_under(descriptor)) {
    if (fails(fault("map"))) return MAP_FAILED;
    if ((flags & MAP_SHARED) != 0 && fails(fault("shared"))) return MAP_FAILED;
  }
  return reinterpret_cast<void*>(::syscall(SYS_mmap, at, size, protection, flags, descriptor, offset));
}

}  // namespace

extern "C" {

int fsync(int descriptor) {
  if (is_under(descriptor) && fails(fault(is_folder(descriptor) ? "folder" : "file"))) return -1;
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

// Under another name, as there is a struct flock, too.
int locked(int descriptor, int operation) noexcept __asm__("flock");
int locked(int descriptor, int operation) noexcept {
  if (is_under(descriptor) && fails(fault("lock"))) return -1;
  return static_cast<int>(::syscall(SYS_flock, descriptor, operation));
}

int link(const char* from, const char* to) noexcept {
  if (is_under(to) && fails(fault("link"))) return -1;
  return static_cast<int>(::syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}

ssize_t pwrite(int descriptor, const void* bytes, std::size_t size, off_t offset) {
  if (is_under(descriptor) && fails(fault("write"))) return -1;
  return ::syscall(SYS_pwrite64, descriptor, bytes, size, offset);
}

void* mmap(void* at, std::size_t size, int protection, int flags, int descriptor, off_t offset) noexcept {
  return mapped(at, size, protection, flags, descriptor, offset);
}

void* mmap64(void* at, std::size_t size, int protection, int flags, int descriptor, off_t offset) noexcept {
  return mapped(at, size, protection, flags, descriptor, offset);
}
}
