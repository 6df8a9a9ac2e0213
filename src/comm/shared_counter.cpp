#include "mpi_check.hpp"

#include <atomic>
#include <exception>
#include <memory>

#include <galapagos/comm/shared_counter.hpp>

namespace galapagos {
namespace {

// Processes share it, so it must not rest on a lock, which would be each process's own.
using Shared = std::atomic_ref<std::int64_t>;
static_assert(Shared::is_always_lock_free);

constexpr std::size_t cache_line = 64;

}  // namespace

SharedCounter::SharedCounter(const Communicator& comm, bool remote) {
  if (comm.size() == 1 && !remote) return;
  if (!remote && comm.all(comm.split_node().size() == comm.size())) {
    buffer_ = NodeBuffer(comm, 2 * cache_line);
    // Pages begin at the same place for all, so all come to the same cache line.
    void* place = buffer_.bytes().data();
    std::size_t room = buffer_.bytes().size();
    in_memory_ = static_cast<std::int64_t*>(std::align(cache_line, cache_line, place, room));
    if (comm.is_root()) *in_memory_ = 0;
    buffer_.synchronise(comm);
    return;
  }
  in_memory_ = nullptr;
  std::int64_t* value = nullptr;
  const auto bytes = static_cast<MPI_Aint>(comm.is_root() ? sizeof(std::int64_t) : 0);
  GALAPAGOS_MPI(
      MPI_Win_allocate(bytes, sizeof(std::int64_t), MPI_INFO_NULL, comm.handle(), &value, &window_));
  MPI_Win_set_errhandler(window_, MPI_ERRORS_RETURN);
  GALAPAGOS_MPI(MPI_Win_lock_all(0, window_));
  if (comm.is_root()) *value = 0;
  GALAPAGOS_MPI(MPI_Win_sync(window_));
  comm.barrier();
}

SharedCounter::~SharedCounter() {
  // Freeing is collective: on the way of an exception that the other ranks do not know of it would never end.
  if (window_ == MPI_WIN_NULL || std::uncaught_exceptions() > 0) return;
  MPI_Win_unlock_all(window_);
  MPI_Win_free(&window_);
}

std::int64_t SharedCounter::take(std::int64_t count) {
  if (in_memory_ != nullptr) return Shared(*in_memory_).fetch_add(count);
  std::int64_t before = 0;
  GALAPAGOS_MPI(MPI_Fetch_and_op(&count, &before, MPI_INT64_T, 0, 0, MPI_SUM, window_));
  GALAPAGOS_MPI(MPI_Win_flush(0, window_));
  return before;
}

}  // namespace galapagos
