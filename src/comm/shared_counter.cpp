#include "mpi_check.hpp"

#include <atomic>
#include <exception>
#include <memory>
#include <set>
#include <vector>

#include <galapagos/comm/shared_counter.hpp>
#include <galapagos/core/logging.hpp>

namespace galapagos {
namespace {

// Processes share it, so it must not rest on a lock, which would be each process's own.
using Shared = std::atomic_ref<std::int64_t>;
static_assert(Shared::is_always_lock_free);

constexpr std::size_t cache_line = 64;

}  // namespace

SharedCounter::SharedCounter(const Communicator& all, const Communicator& group, bool remote) {
  const bool within = group.all(group.split_node().size() == group.size());
  if (!remote && all.all(within)) {
    if (group.size() > 1) make_buffer(group);
    return;
  }
  // One group after the other: Open MPI 4 (osc/rdma) gives the files behind windows of groups that have come
  // from one split the same name, so that two groups on a node would share one, or miss it.
  const int mine = group.broadcast_value(all.rank());  // the group's root
  const std::vector<int> roots = all.all_gather(mine);
  for (const int root : std::set<int>(roots.begin(), roots.end())) {
    if (root == mine) make_window(group);
    all.barrier();
  }
}

void SharedCounter::make_buffer(const Communicator& group) {
  buffer_ = NodeBuffer(group, 2 * cache_line);
  // Pages begin at the same place for all, so all come to the same cache line.
  void* place = buffer_.bytes().data();
  std::size_t room = buffer_.bytes().size();
  in_memory_ = static_cast<std::int64_t*>(std::align(cache_line, cache_line, place, room));
  if (group.is_root()) *in_memory_ = 0;
  buffer_.synchronise(group);
}

void SharedCounter::make_window(const Communicator& group) {
  in_memory_ = nullptr;
  std::int64_t* value = nullptr;
  const auto bytes = static_cast<MPI_Aint>(group.is_root() ? sizeof(std::int64_t) : 0);
  const int code =
      MPI_Win_allocate(bytes, sizeof(std::int64_t), MPI_INFO_NULL, group.handle(), &value, &window_);
  if (!group.all(code == MPI_SUCCESS)) {
    window_ = MPI_WIN_NULL;
    if (group.is_root()) {
      log_warning_once(
          "MPI has no windows between these nodes: work is dealt out in turn, not to whoever is free "
          "(Open MPI: see --mca osc)");
    }
    deal(group);
    return;
  }
  MPI_Win_set_errhandler(window_, MPI_ERRORS_RETURN);
  GALAPAGOS_MPI(MPI_Win_lock_all(0, window_));
  if (group.is_root()) *value = 0;
  GALAPAGOS_MPI(MPI_Win_sync(window_));
  group.barrier();
}

void SharedCounter::deal(const Communicator& group) {
  own_ = group.rank();
  step_ = group.size();
  in_memory_ = &own_;
}

SharedCounter::~SharedCounter() {
  // Freeing is collective: on the way of an exception that the other ranks do not know of it would never end.
  if (window_ == MPI_WIN_NULL || std::uncaught_exceptions() > 0) return;
  MPI_Win_unlock_all(window_);
  MPI_Win_free(&window_);
}

std::int64_t SharedCounter::take(std::int64_t count) {
  if (in_memory_ != nullptr) return Shared(*in_memory_).fetch_add(count * step_);
  std::int64_t before = 0;
  GALAPAGOS_MPI(MPI_Fetch_and_op(&count, &before, MPI_INT64_T, 0, 0, MPI_SUM, window_));
  GALAPAGOS_MPI(MPI_Win_flush(0, window_));
  return before;
}

}  // namespace galapagos
