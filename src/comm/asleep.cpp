#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>
#include <vector>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/asleep.hpp>

namespace galapagos {

void agree_at_root_asleep(const Communicator& comm, const std::function<void()>& work) {
  constexpr int done_tag = 1;
  const Communicator own = comm.duplicate();
  std::exception_ptr failure;
  char done = 1;
  const auto bytes = std::as_writable_bytes(std::span(&done, 1));
  own.barrier();  // nobody computes any more
  if (own.is_root()) {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    std::vector<Request> told;
    for (int rank = 1; rank < own.size(); ++rank) told.push_back(own.send_async(bytes, rank, done_tag));
  } else {
    Request told = own.receive_async(bytes, 0, done_tag);
    std::chrono::milliseconds pause(1);
    while (!told.done()) {
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, std::chrono::milliseconds(32));
    }
  }
  agree(comm, [&] {
    if (failure) std::rethrow_exception(failure);
  });
}

}  // namespace galapagos
