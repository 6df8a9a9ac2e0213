#include <csignal>
#include <initializer_list>

#include <galapagos/core/signals.hpp>

namespace galapagos {
namespace {

volatile std::sig_atomic_t stop_flag = 0;
volatile std::sig_atomic_t checkpoint_flag = 0;

extern "C" void note_signal(int signal) {
  if (signal == SIGUSR1) {
    checkpoint_flag = 1;
  } else {
    stop_flag = 1;
  }
}

}  // namespace

void watch_signals() {
  struct sigaction action = {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM}) sigaction(signal, &action, nullptr);
}

bool stop_requested() {
  return stop_flag != 0;
}

bool take_checkpoint_request() {
  const bool asked = checkpoint_flag != 0;
  checkpoint_flag = 0;
  return asked;
}

}  // namespace galapagos
