#pragma once

#include <csignal>
#include <thread>
#include <utility>

namespace galapagos {

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

}  // namespace galapagos
