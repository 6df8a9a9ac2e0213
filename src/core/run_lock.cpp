#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/quiet_thread.hpp>
#include <galapagos/core/run_lock.hpp>
#include <galapagos/core/system.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::string first_word_of(const char* path) {
  std::string word;
  std::ifstream(path) >> word;
  return word;
}

/// Since when the process runs, in ticks since this machine started; a number may be another process's
/// later. 0 where there is no such process, or it has ended and is only not yet cleared away.
std::int64_t start_of(std::int64_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string line;
  if (!std::getline(file, line)) return 0;
  const std::size_t name = line.rfind(')');  // which may hold blanks
  if (name == std::string::npos) return 0;
  std::istringstream rest(line.substr(name + 1));
  std::string word, state;
  rest >> state;
  if (state == "Z" || state == "X") return 0;
  constexpr int before_start = 18;  // of the words after the state
  for (int i = 0; i < before_start; ++i) rest >> word;
  std::int64_t ticks = 0;
  rest >> ticks;
  return ticks;
}

std::string host() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

/// In which this process's number counts: a boot of a machine, and there a container. Names of hosts are not
/// always different.
std::string numbering() {
  std::error_code none;
  const std::string boot = first_word_of("/proc/sys/kernel/random/boot_id");
  const std::string space = fs::read_symlink("/proc/self/ns/pid", none).string();
  return boot.empty() || none ? "" : boot + " " + space;
}

std::string job() {
  for (const char* variable : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"})
    if (const char* number = std::getenv(variable)) return number;
  return "";
}

enum class Holder { lives, has_ended, is_elsewhere };

Holder judge(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("numbering") || !json.contains("process") ||
      !json.contains("started") || !json["process"].is_number_integer() ||
      !json["started"].is_number_integer())
    return Holder::is_elsewhere;
  const std::string here = numbering();
  if (here.empty() || json["numbering"] != here) return Holder::is_elsewhere;
  const std::int64_t start = start_of(json["process"].get<std::int64_t>());
  return start != 0 && start == json["started"].get<std::int64_t>() ? Holder::lives : Holder::has_ended;
}

std::string described(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return "a process that is not named";
  const auto said = [&](const char* key) {
    if (!json.contains(key)) return std::string("?");
    return printable(json[key].is_string() ? json[key].get<std::string>() : json[key].dump());
  };
  const std::string of_job = said("job").empty() ? "" : ", job " + said("job");
  return fmt::format("process {} on {}{}, since {}", said("process"), said("host"), of_job, said("since"));
}

/// What a lock says, and when it was last touched, by the file system's own clock.
struct Seen {
  std::string text;
  timespec touched{};
};

std::optional<Seen> look_at(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);  // which asks the file server anew
  if (descriptor < 0) return std::nullopt;
  Seen seen;
  std::array<char, 4096> buffer{};
  const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
  struct stat status {};
  if (::fstat(descriptor, &status) == 0) seen.touched = status.st_mtim;
  ::close(descriptor);
  if (got > 0) seen.text.assign(buffer.data(), static_cast<std::size_t>(got));
  return seen;
}

bool same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

void touch(const fs::path& path) {
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

}  // namespace

fs::path lock_path(const fs::path& output) {
  const fs::path bare = output.has_filename() ? output : output.parent_path();  // "X/" is X
  return bare.string() + ".lock";
}

std::string lock_text() {
  Json json;
  json["host"] = host();
  json["process"] = static_cast<std::int64_t>(::getpid());
  json["started"] = start_of(::getpid());
  json["numbering"] = numbering();
  json["job"] = job();
  json["since"] = utc_now();
  return json.dump() + "\n";
}

RunLock::RunLock(const fs::path& output, bool makes_parents, LockTimes times)
    : path_(lock_path(output)), text_(lock_text()), times_(times) {
  const fs::path folder = fs::absolute(path_).parent_path();
  if (makes_parents) make_folders(folder);
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    path_.clear();
    return;
  }
  // Written whole under a name of its own, then named the lock: no one sees half of it.
  own_ = fmt::format("{}.{}-{:08x}", path_.string(), ::getpid(),
                     static_cast<std::uint32_t>(Clock::now().time_since_epoch().count()));
  {
    FileDescriptor file(own_, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(std::as_bytes(std::span(text_)), 0);
  }
  std::error_code ignored;
  try {
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
  std::error_code ignored;
  if (const auto seen = look_at(path_); seen && seen->text == text_) fs::remove(path_, ignored);
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
  if (descriptor < 0) {
    if (errno == EEXIST) return false;
    FileDescriptor(path_, O_WRONLY | O_CREAT | O_EXCL);  // says why not
    return true;
  }
  const ssize_t written = ::write(descriptor, text_.data(), text_.size());
  ::close(descriptor);
  if (written == static_cast<ssize_t>(text_.size())) return true;
  std::error_code ignored;
  fs::remove(path_, ignored);
  throw ResourceError("cannot write the lock", path_.string(),
                      "free space on that file system or choose another");
}

void RunLock::acquire() {
  const auto begun = Clock::now();
  std::optional<Seen> first;
  auto since = begun;
  while (!place()) {
    const std::optional<Seen> now = look_at(path_);
    if (!now) continue;
    auto nap = std::chrono::milliseconds(50);
    switch (judge(now->text)) {
      case Holder::has_ended:
        take_over(now->text);
        continue;
      case Holder::lives:
        if (Clock::now() - begun > times_.grace) refuse(now->text);
        break;
      case Holder::is_elsewhere: {
        if (first && first->text == now->text && !same(first->touched, now->touched)) refuse(now->text);
        if (!first || first->text != now->text) {
          first = now;
          since = Clock::now();
          struct stat status {};
          ::stat(own_.c_str(), &status);
          const auto age = std::chrono::seconds(status.st_mtim.tv_sec - now->touched.tv_sec);
          if (age > times_.patience) {
            take_over(now->text);
            continue;
          }
          log_info("{} is held by {}; waits up to {} s for a sign of life", path_.string(),
                   described(now->text),
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
    log_info("{} was left by {}, which has ended: taken over", path_.string(), described(text));
  }
  fs::remove(old, ignored);
}

void RunLock::refuse(const std::string& text) const {
  throw InputError(
      "in use by " + described(text), fs::path(path_).replace_extension().string(),
      fmt::format("wait for its end or choose another --output; if there is no such process, delete {}",
                  path_.string()));
}

/// Touches the lock; ends the program where another has taken the run over, as it would if it were killed.
void RunLock::keep() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, times_.beat, [&] { return ending_; })) {
    const std::optional<Seen> seen = look_at(path_);
    if (seen && seen->text == text_) {
      touch(path_);
    } else if (seen && !seen->text.empty()) {
      std::fprintf(stderr, "galapagos: error: %s has taken this run over [%s]; wait for its end\n",
                   described(seen->text).c_str(), path_.c_str());
      std::fflush(stderr);
      std::_Exit(static_cast<int>(ExitCode::failure));
    } else if (!seen && errno == ENOENT) {
      const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      if (descriptor < 0) continue;
      (void)!::write(descriptor, text_.data(), text_.size());
      ::close(descriptor);
    }
  }
}

}  // namespace galapagos
