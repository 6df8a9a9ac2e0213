// Preloaded into the program, it keeps what a disk would hold after a crash of the machine: at every sync of
// a file below $CRASH_DISK_UNDER a copy of it, and of a folder the names in it, go to the folder $CRASH_DISK,
// under what tells it from all others. What was not synced is thus known (lost_writes.cpp). The real sync is
// left out. Where $CRASH_DISK_STOP is n (or -n), the process stops before (or behind) the n-th sync of all
// processes together, leaves a file `moment` and waits to be killed.
#include "file_identity.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>
#include <vector>

using galapagos::storm::identity_of;

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// The path behind a descriptor; empty where it lies elsewhere, or has been removed.
std::string path_below(int descriptor) {
  const std::string folder = setting("CRASH_DISK_UNDER"),
                    link = "/proc/self/fd/" + std::to_string(descriptor);
  if (folder.empty()) return "";
  char path[4096];
  const ssize_t length = ::readlink(link.c_str(), path, sizeof path);
  if (length < 0) return "";
  const std::string found(path, static_cast<std::size_t>(length));
  const bool below = found == folder || found.starts_with(folder + "/");
  return below && !found.ends_with(" (deleted)") ? found : "";
}

std::string kept(const char* what, const std::string& path) {
  return setting("CRASH_DISK") + "/" + what + "-" + identity_of(path);
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

/// The lines of a list of names but those of an identity or a name.
std::string without(const std::string& list, const std::string& identity, const std::string& name) {
  std::string text;
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = list.find('\n', at), gap = list.find(' ', at);
    if (list.substr(at, gap - at) != identity && list.substr(gap + 1, end - gap - 1) != name)
      text += list.substr(at, end + 1 - at);
    at = end + 1;
  }
  return text;
}

/// Of what another process may be changing.
template <typename Iterator>
std::vector<std::string> paths_below(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code gone;
  for (Iterator at(folder, gone), end; !gone && at != end; at.increment(gone))
    paths.push_back(at->path().string());
  return paths;
}

std::vector<std::string> paths_in(const std::string& folder) {
  return paths_below<std::filesystem::directory_iterator>(folder);
}

std::string file_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

/// What has been renamed has its old name no longer.
void forget_elsewhere(const std::string& identity, const std::string& here) {
  for (const std::string& list : paths_in(setting("CRASH_DISK"))) {
    if (list == here || !file_name(list).starts_with("names-") || list.ends_with(".new")) continue;
    const std::string old = read_all(list), text = without(old, identity, "");
    if (text != old) write_all(list, text);
  }
}

/// Among the names of its folder, which has its own in the folder above, and so on, as a journal would have
/// it.
void keep_name(const std::string& path) {
  if (path == setting("CRASH_DISK_UNDER")) return;
  const std::size_t slash = path.rfind('/');
  const std::string folder = path.substr(0, slash), name = path.substr(slash + 1),
                    identity = identity_of(path), list = kept("names", folder);
  write_all(list, without(read_all(list), identity, name) + identity + " " + name + "\n");
  forget_elsewhere(identity, list);
  keep_name(folder);
}

std::string names_in(const std::string& folder) {
  std::string text;
  for (const std::string& path : paths_in(folder)) text += identity_of(path) + " " + file_name(path) + "\n";
  return text;
}

/// A rename from one folder to another is on the disk as soon as one of the two is.
void keep_folder(const std::string& path) {
  const std::string list = kept("names", path), old = read_all(list), now = names_in(path);
  write_all(list, now);
  keep_name(path);
  for (const std::string& one :
       paths_below<std::filesystem::recursive_directory_iterator>(setting("CRASH_DISK_UNDER"))) {
    const std::string identity = identity_of(one);
    if (identity.empty()) continue;
    const bool is_here = now.find(identity + " ") != std::string::npos;
    if (is_here) forget_elsewhere(identity, list);
    if (!is_here && old.find(identity + " ") != std::string::npos) keep_name(one);
  }
}

void keep_file(const std::string& path) {
  write_all(kept("data", path), read_all(path));
  // So that what is written to it without a name is known, too.
  if (::link(path.c_str(), kept("held", path).c_str()) != 0 && errno != EEXIST) std::abort();
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
        keep_folder(path);
      else
        keep_file(path);
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
