#include <csignal>
#include <utility>

#include <galapagos/core/write_behind.hpp>

namespace galapagos {
namespace {

/// A thread that takes no signals: they are for the main thread.
template <typename Work>
std::thread quiet_thread(Work&& work) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto restore = [&] { pthread_sigmask(SIG_SETMASK, &before, nullptr); };
  try {
    std::thread thread(std::forward<Work>(work));
    restore();
    return thread;
  } catch (...) {
    restore();
    throw;
  }
}

}  // namespace

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
  add({std::move(bytes), offset, false});
}

void WriteBehind::sync() {
  add({{}, 0, true});
}

void WriteBehind::drain() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return jobs_.empty(); });
  if (failure_) std::rethrow_exception(failure_);
}

void WriteBehind::add(Job job) {
  const std::size_t size = job.bytes.size();
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return waiting_ == 0 || waiting_ + size <= most_; });
    if (failure_) std::rethrow_exception(failure_);
    waiting_ += size;
    jobs_.push_back(std::move(job));
  }
  added_.notify_one();
}

void WriteBehind::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    added_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job& job = jobs_.front();  // stays where it is while others are added
    if (!failure_) {
      lock.unlock();
      std::exception_ptr failure;
      try {
        if (job.sync) {
          file_.sync();
        } else {
          file_.write_at(job.bytes, job.offset);
        }
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      failure_ = failure;
    }
    waiting_ -= job.bytes.size();
    jobs_.pop_front();
    done_.notify_all();
  }
}

}  // namespace galapagos
