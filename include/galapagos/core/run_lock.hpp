#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
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
/// in use, saying who has it since when and what to delete if that is wrong, or where the lock's name is
/// taken by what is none; StoppedEarly where a signal comes while it waits. Where nothing can be written,
/// there is no lock: neither is there going to be output. Held by one rank for all.
class RunLock {
 public:
  /// `makes_parents`: makes the folder that `output` lies in. `lost` is called, in a thread of its own, where
  /// another process has taken the output over; after it the process ends.
  explicit RunLock(const std::filesystem::path& output, bool makes_parents = false, LockTimes times = {},
                   std::function<void()> lost = {});
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
  void place_again();

  std::filesystem::path path_, own_;
  std::string text_;
  LockTimes times_;
  std::function<void()> lost_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

/// `X.lock`, or `X/run.lock` where only the folder X can be written; empty where neither can.
std::filesystem::path lock_path(const std::filesystem::path& output);

}  // namespace galapagos
