#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

namespace galapagos {

/// How long a lock's holder may give no sign of life.
struct LockTimes {
  std::chrono::milliseconds beat{15'000};  ///< how often a holder touches its lock
  std::chrono::milliseconds patience{
      100'000};  ///< a lock of elsewhere that nobody has touched for so long is dead
  std::chrono::milliseconds grace{30'000};  ///< a process of this machine may take so long to end
};

/// That no two runs write the same output: a file `output`.lock beside it, which says by whom it is held and
/// which is touched again and again as long as that lives. One of a process of this machine that has ended is
/// taken over; so is one of elsewhere that nobody touches, after some waiting. InputError where the output is
/// in use, saying who has it since when and what to delete if that is wrong. Where the folder cannot be
/// written, there is no lock: neither is there going to be output. Held by one rank for all.
class RunLock {
 public:
  /// `makes_parents`: makes the folder that `output` lies in.
  explicit RunLock(const std::filesystem::path& output, bool makes_parents = false, LockTimes times = {});
  /// Removes the lock.
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  void acquire();
  bool place();
  void take_over(const std::string& text);
  [[noreturn]] void refuse(const std::string& text) const;
  void keep();

  std::filesystem::path path_, own_;
  std::string text_;
  LockTimes times_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

/// `X.lock`.
std::filesystem::path lock_path(const std::filesystem::path& output);

/// What a lock of this process says.
std::string lock_text();

}  // namespace galapagos
