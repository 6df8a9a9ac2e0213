#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include <galapagos/core/file.hpp>

namespace galapagos {

/// Writes to a file on a thread of its own, in the order asked for. After a failure it writes nothing more,
/// and each call throws that failure.
class WriteBehind {
 public:
  /// Told by lend(), for wait_for().
  using Loan = std::uint64_t;

  /// Holds up to `most` bytes of its own that wait to be written, or one piece that is longer.
  WriteBehind(FileDescriptor file, std::size_t most);
  /// Writes what is waiting; failures are lost, so call drain() before.
  ~WriteBehind();
  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  /// Returns at once where there is room, else when there is.
  void write(std::vector<std::byte> bytes, std::uint64_t offset);
  /// Returns at once. The bytes remain the caller's, and have to stay as they are until wait_for() or the
  /// destructor returns; their Hash64 is written, too, at `hash_offset` where there is one.
  Loan lend(std::span<const std::byte> bytes, std::uint64_t offset,
            std::optional<std::uint64_t> hash_offset = {});
  /// Returns when the bytes of a loan are no longer needed.
  void wait_for(Loan loan);
  /// Returns at once. A few bytes that say that all that was asked for before is on the disk: written once it
  /// is, which is seen to once a second at most, as it takes long, or when nothing more is to come.
  void mark(std::vector<std::byte> bytes, std::uint64_t offset);
  /// Returns when all is done, and what is marked is on the disk with its marks.
  void drain();

 private:
  struct Job {
    std::vector<std::byte> owned;
    std::span<const std::byte> bytes;  // of `owned`, or lent
    std::uint64_t offset = 0;
    std::optional<std::uint64_t> hash_offset;
    bool mark = false;
  };

  Loan add(Job job);
  void carry_out(const Job& job);
  void write_marks();
  void attempt(std::unique_lock<std::mutex>& lock, const std::function<void()>& work);
  void wait_for_work(std::unique_lock<std::mutex>& lock);
  bool marks_due() const;
  void run();

  FileDescriptor file_;
  std::size_t most_;
  std::mutex mutex_;
  std::condition_variable added_, done_;
  std::deque<Job> jobs_;    // the first is being done
  std::vector<Job> marks_;  // what they speak of is written, but may not be on the disk
  std::chrono::steady_clock::time_point next_sync_{};
  std::size_t waiting_ = 0;  // bytes that they own
  Loan asked_ = 0, finished_ = 0;
  std::exception_ptr failure_;
  bool ending_ = false, draining_ = false;
  std::thread thread_;
};

}  // namespace galapagos
