#pragma once

#include <csignal>
#include <system_error>
#include <thread>
#include <utility>

#include <galapagos/core/error.hpp>

namespace galapagos {

/// A thread that takes no signals: they are for the main thread. ResourceError where none can be started.
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
  } catch (const std::system_error& error) {
    restore();
    throw ResourceError(std::string("cannot start a thread: ") + error.code().message(), "threads",
                        "raise the limits (ulimit -u, ulimit -v) or use fewer --threads");
  }
}

}  // namespace galapagos
