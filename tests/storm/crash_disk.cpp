// Preloaded into the program, it keeps what a disk would hold after a crash of the machine: at every sync of a
// file below $CRASH_DISK_UNDER a copy of it, and of a folder the names in it, go to the folder $CRASH_DISK, under
// the number of the inode. What was not synced is thus known (lost_writes.cpp). The real sync is left out.
// Where $CRASH_DISK_STOP is n (or -n), the process stops before (or behind) the n-th sync of all processes
// together, leaves a file `moment` and waits to be killed.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// The path behind a descriptor; empty where it lies elsewhere, or has been removed.
std::string path_below(int descriptor) {
  const std::string folder = setting("CRASH_DISK_UNDER"), link = "/proc/self/fd/" + std::to_string(descriptor);
  if (folder.empty()) return "";
  char path[4096];
  const ssize_t length = ::readlink(link.c_str(), path, sizeof path);
  if (length < 0) return "";
  const std::string found(path, static_cast<std::size_t>(length));
  const bool below = found == folder || found.starts_with(folder + "/");
  return below && !found.ends_with(" (deleted)") ? found : "";
}

std::string kept(const char* what, ino_t inode) {
  return setting("CRASH_DISK") + "/" + what + "-" + std::to_string(inode);
}

std::string read_all(const std::string& path) {
  std::string text;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return text;
  char buffer[1 << 16];
  for (ssize_t got = 0; (got = ::read(file, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  ::close(file);
  return text;
}

/// Under its name at once and whole: this process may be killed here, too.
void write_all(const std::string& path, const std::string& text) {
  const std::string unfinished = path + ".new";
  const int file = ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) std::abort();
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(file, text.data() + done, text.size() - done);
    if (written <= 0) std::abort();
    done += static_cast<std::size_t>(written);
  }
  ::close(file);
  if (::rename(unfinished.c_str(), path.c_str()) != 0) std::abort();
}

ino_t inode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

/// Among the names of its folder, which has its own in the folder above, and so on, as a journal would have it.
void keep_name(const std::string& path) {
  if (path == setting("CRASH_DISK_UNDER")) return;
  const std::size_t slash = path.rfind('/');
  const std::string folder = path.substr(0, slash), name = path.substr(slash + 1),
                    inode = std::to_string(inode_of(path)), list = kept("names", inode_of(folder));
  const std::string old = read_all(list);
  std::string text;
  for (std::size_t at = 0; at < old.size();) {
    const std::size_t end = old.find('\n', at), gap = old.find(' ', at);
    if (old.substr(at, gap - at) != inode && old.substr(gap + 1, end - gap - 1) != name)
      text += old.substr(at, end + 1 - at);
    at = end + 1;
  }
  write_all(list, text + inode + " " + name + "\n");
  keep_name(folder);
}

void keep_folder(const std::string& path, ino_t inode) {
  std::string text;
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) std::abort();
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") text += std::to_string(entry->d_ino) + " " + name + "\n";
  }
  ::closedir(folder);
  write_all(kept("names", inode), text);
  keep_name(path);
}

void keep_file(const std::string& path, ino_t inode) {
  write_all(kept("data", inode), read_all(path));
  // Its inode is not given to another file while this name stands.
  if (::link(path.c_str(), kept("held", inode).c_str()) != 0 && errno != EEXIST) std::abort();
  keep_name(path);
}

/// One sync at a time, of all processes.
class Turn {
 public:
  Turn() : lock_(::open((setting("CRASH_DISK") + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (lock_ < 0 || ::flock(lock_, LOCK_EX) != 0) std::abort();
  }
  ~Turn() { ::close(lock_); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  int lock_;
};

long count_sync() {
  const std::string path = setting("CRASH_DISK") + "/count";
  const long count = std::atol(read_all(path).c_str()) + 1;
  write_all(path, std::to_string(count));
  return count;
}

[[noreturn]] void wait_to_be_killed() {
  write_all(setting("CRASH_DISK") + "/moment", std::to_string(::getpid()));
  while (true) ::pause();
}

int sync_below(int descriptor, const std::string& path) {
  const long stop = std::atol(setting("CRASH_DISK_STOP").c_str());
  long count = 0;
  {
    const Turn turn;
    count = count_sync();
    struct stat status {};
    if (count != stop && ::fstat(descriptor, &status) == 0) {
      if (S_ISDIR(status.st_mode))
        keep_folder(path, status.st_ino);
      else
        keep_file(path, status.st_ino);
    }
  }
  if (stop != 0 && (count == stop || count == -stop)) wait_to_be_killed();
  return 0;
}

}  // namespace

extern "C" {

int fsync(int descriptor) {
  const std::string path = path_below(descriptor);
  return path.empty() ? static_cast<int>(::syscall(SYS_fsync, descriptor)) : sync_below(descriptor, path);
}

int fdatasync(int descriptor) {
  const std::string path = path_below(descriptor);
  return path.empty() ? static_cast<int>(::syscall(SYS_fdatasync, descriptor)) : sync_below(descriptor, path);
}
}
