#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <span>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/file_remedy.hpp>
#include <galapagos/core/lock_holder.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/quiet_thread.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/core/run_lock.hpp>
#include <galapagos/core/signals.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// What a lock says, and when it was last touched, by the file system's own clock.
struct Seen {
  std::string text;
  timespec touched{};
};

[[noreturn]] void refuse_stranger(const fs::path& path) {
  throw InputError("stands where the lock of a run goes, and is none", path.string(),
                   "move it away, or choose another --output");
}

/// Nothing where it is gone. InputError where it is no file, or cannot be read.
std::optional<Seen> look_at(const fs::path& path) {
  // Opening asks the file server anew.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (descriptor < 0) {
    const int error = errno;
    if (error == ENOENT) return std::nullopt;
    if (error == ELOOP) refuse_stranger(path);
    throw InputError(fmt::format("the lock of a run cannot be read: {}", std::strerror(error)), path.string(),
                     error == EACCES ? "it is another user's: choose another --output" : remedy_for(error));
  }
  Seen seen;
  std::array<char, 4096> buffer{};
  struct stat status {};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const ssize_t got = regular ? ::read(descriptor, buffer.data(), buffer.size()) : -1;
  ::close(descriptor);
  if (!regular) refuse_stranger(path);
  seen.touched = status.st_mtim;
  if (got > 0) seen.text.assign(buffer.data(), static_cast<std::size_t>(got));
  return seen;
}

bool same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

void touch(const fs::path& path) {
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

bool can_write(const fs::path& folder) {
  return ::access(folder.c_str(), W_OK | X_OK) == 0;
}

}  // namespace

fs::path lock_path(const fs::path& output) {
  const fs::path bare = output.has_filename() ? output : output.parent_path();  // "X/" is X
  if (can_write(fs::absolute(bare).parent_path())) return bare.string() + ".lock";
  return fs::is_directory(bare) && can_write(bare) ? bare / "run.lock" : fs::path();
}

RunLock::RunLock(const fs::path& output, bool makes_parents, LockTimes times, std::function<void()> lost)
    : text_(lock_text()), times_(times), lost_(std::move(lost)) {
  if (makes_parents) make_folders(fs::absolute(output).parent_path());
  path_ = lock_path(output);
  if (path_.empty()) return;
  // Written whole under a name of its own, then named the lock: no one sees half of it.
  own_ = fmt::format("{}.{}-{:08x}", path_.string(), ::getpid(),
                     static_cast<std::uint32_t>(Clock::now().time_since_epoch().count()));
  std::error_code ignored;
  try {
    FileDescriptor(own_, O_WRONLY | O_CREAT | O_TRUNC).write_at(std::as_bytes(std::span(text_)), 0);
    acquire();
  } catch (...) {
    fs::remove(own_, ignored);
    throw;
  }
  fs::remove(own_, ignored);
  try {
    thread_ = quiet_thread([this] { keep(); });
  } catch (...) {
    fs::remove(path_, ignored);
    throw;
  }
}

RunLock::~RunLock() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
  try {
    if (const auto seen = look_at(path_); seen && seen->text == text_) fs::remove(path_);
  } catch (const std::exception&) {
    // It cannot be told whose it is now: who comes next will see that this process has ended.
  }
}

/// Whether the lock was free and is ours now.
bool RunLock::place() {
  touch(own_);
  if (::link(own_.c_str(), path_.c_str()) == 0) return true;
  const int error = errno;
  struct stat status {};
  // A file server may have done it and its answer have been lost.
  if (::stat(own_.c_str(), &status) == 0 && status.st_nlink > 1) return true;
  if (error == EEXIST) return false;
  // A file system without a second name for a file.
  const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor < 0 && errno == EEXIST) return false;
  if (descriptor >= 0) ::close(descriptor);
  try {
    FileDescriptor(path_, O_WRONLY | O_CREAT).write_at(std::as_bytes(std::span(text_)), 0);
  } catch (...) {
    std::error_code ignored;
    if (descriptor >= 0) fs::remove(path_, ignored);
    throw;
  }
  return true;
}

void RunLock::acquire() {
  const auto begun = Clock::now();
  std::optional<Seen> first;
  auto since = begun;
  bool said = false;
  while (!place()) {
    if (stop_requested()) throw StoppedEarly("stopped while waiting for a run to end", path_.string(), go_on);
    const std::optional<Seen> now = look_at(path_);
    auto nap = std::chrono::milliseconds(50);
    switch (now ? judge_holder(now->text) : LockHolder::lives) {
      case LockHolder::has_ended:
        take_over(now->text);
        continue;
      case LockHolder::is_none:
        refuse_stranger(path_);
      case LockHolder::lives:
        if (Clock::now() - begun > times_.grace) refuse(now ? now->text : std::string());
        if (now && !std::exchange(said, true))
          log_info("{} is held by {}; waits for its end", path_.string(), describe_holder(now->text));
        break;
      case LockHolder::is_elsewhere: {
        if (first && first->text == now->text && !same(first->touched, now->touched)) refuse(now->text);
        if (!first || first->text != now->text) {
          first = now;
          since = Clock::now();
          struct stat status {};
          ::stat(own_.c_str(), &status);
          const auto age = std::chrono::seconds(status.st_mtim.tv_sec - now->touched.tv_sec);
          if (age > times_.patience + std::chrono::seconds(1)) {
            take_over(now->text);
            continue;
          }
          log_info("{} is held by {}; waits up to {} s for a sign of life", path_.string(),
                   describe_holder(now->text),
                   std::chrono::duration_cast<std::chrono::seconds>(times_.patience).count());
        }
        if (Clock::now() - since > times_.patience) {
          take_over(now->text);
          continue;
        }
        nap = std::min(std::chrono::milliseconds(1000), times_.patience / 20);
      }
    }
    std::this_thread::sleep_for(nap);
  }
}

void RunLock::take_over(const std::string& text) {
  // Out of the way first, as another may be about to do the same and must not remove ours.
  const fs::path old = own_.string() + ".old";
  if (std::rename(path_.c_str(), old.c_str()) != 0) return;
  const std::optional<Seen> moved = look_at(old);
  std::error_code ignored;
  if (moved && moved->text != text) {
    if (::link(old.c_str(), path_.c_str()) != 0 && errno != EEXIST) std::rename(old.c_str(), path_.c_str());
  } else {
    log_info("{} was left by {}, which has ended: taken over", path_.string(), describe_holder(text));
  }
  fs::remove(old, ignored);
}

void RunLock::refuse(const std::string& text) const {
  throw InputError(
      "in use by " + describe_holder(text), fs::path(path_).replace_extension().string(),
      fmt::format("wait for its end or choose another --output; if there is no such process, delete {}",
                  path_.string()));
}

/// Touches the lock; ends the program where another has taken the run over, as it would if it were killed.
void RunLock::keep() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, times_.beat, [&] { return ending_; })) {
    try {
      const std::optional<Seen> seen = look_at(path_);
      if (!seen) {
        place_again();
      } else if (seen->text == text_) {
        touch(path_);
      } else if (!seen->text.empty()) {
        std::fprintf(stderr, "galapagos: error: %s has taken this run over [%s]; wait for its end\n",
                     describe_holder(seen->text).c_str(), path_.c_str());
        std::fflush(stderr);
        if (lost_) lost_();
        std::_Exit(static_cast<int>(ExitCode::failure));
      }
    } catch (const std::exception&) {
      continue;  // a file server may be away for some time
    }
  }
}

/// Where somebody has removed it.
void RunLock::place_again() {
  const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor < 0) return;
  (void)!::write(descriptor, text_.data(), text_.size());
  ::close(descriptor);
}

}  // namespace galapagos
