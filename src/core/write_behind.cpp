#include <array>
#include <utility>

#include <galapagos/core/hash.hpp>
#include <galapagos/core/quiet_thread.hpp>
#include <galapagos/core/write_behind.hpp>

namespace galapagos {

WriteBehind::WriteBehind(FileDescriptor file, std::size_t most)
    : file_(std::move(file)), most_(most), thread_(quiet_thread([this] { run(); })) {}

WriteBehind::~WriteBehind() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  added_.notify_one();
  thread_.join();
}

void WriteBehind::write(std::vector<std::byte> bytes, std::uint64_t offset) {
  Job job;
  job.owned = std::move(bytes);
  job.bytes = job.owned;
  job.offset = offset;
  add(std::move(job));
}

WriteBehind::Loan WriteBehind::lend(std::span<const std::byte> bytes, std::uint64_t offset,
                                    std::optional<std::uint64_t> hash_offset) {
  Job job;
  job.bytes = bytes;
  job.offset = offset;
  job.hash_offset = hash_offset;
  return add(std::move(job));
}

void WriteBehind::mark(std::vector<std::byte> bytes, std::uint64_t offset) {
  Job job;
  job.owned = std::move(bytes);
  job.bytes = job.owned;
  job.offset = offset;
  job.mark = true;
  add(std::move(job));
}

void WriteBehind::wait_for(Loan loan) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return finished_ >= loan; });
  if (failure_) std::rethrow_exception(failure_);
}

void WriteBehind::drain() {
  std::unique_lock lock(mutex_);
  draining_ = true;
  added_.notify_one();
  done_.wait(lock, [&] { return jobs_.empty() && marks_.empty(); });
  draining_ = false;
  if (failure_) std::rethrow_exception(failure_);
}

WriteBehind::Loan WriteBehind::add(Job job) {
  const std::size_t size = job.owned.size();
  Loan number = 0;
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return waiting_ == 0 || waiting_ + size <= most_; });
    if (failure_) std::rethrow_exception(failure_);
    waiting_ += size;
    jobs_.push_back(std::move(job));
    number = ++asked_;
  }
  added_.notify_one();
  return number;
}

void WriteBehind::carry_out(const Job& job) {
  file_.write_at(job.bytes, job.offset);
  if (!job.hash_offset) return;
  const std::array<std::uint64_t, 1> hash = {Hash64().add(job.bytes).value()};
  file_.write_at(std::as_bytes(std::span(hash)), *job.hash_offset);
}

void WriteBehind::write_marks() {
  file_.sync();
  for (const Job& mark : marks_) carry_out(mark);
  file_.sync();  // nobody may ask for anything more
}

/// Without the lock, unless something has failed before.
void WriteBehind::attempt(std::unique_lock<std::mutex>& lock, const std::function<void()>& work) {
  if (failure_) return;
  lock.unlock();
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  failure_ = failure;
}

bool WriteBehind::marks_due() const {
  const bool last = jobs_.empty() && (ending_ || draining_);
  return !marks_.empty() && (last || std::chrono::steady_clock::now() >= next_sync_);
}

void WriteBehind::wait_for_work(std::unique_lock<std::mutex>& lock) {
  const auto any = [&] { return !jobs_.empty() || ending_ || marks_due(); };
  if (marks_.empty()) {
    added_.wait(lock, any);
  } else {
    added_.wait_until(lock, next_sync_, any);
  }
}

void WriteBehind::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wait_for_work(lock);
    if (marks_due()) {
      attempt(lock, [&] { write_marks(); });
      marks_.clear();
      next_sync_ = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    } else if (!jobs_.empty()) {
      Job& job = jobs_.front();  // stays where it is while others are added
      if (!job.mark) attempt(lock, [&] { carry_out(job); });
      waiting_ -= job.owned.size();
      if (job.mark) marks_.push_back(std::move(job));
      jobs_.pop_front();
      ++finished_;
    } else if (ending_) {
      return;
    }
    done_.notify_all();
  }
}

}  // namespace galapagos
