#include "mpi_check.hpp"

#include <exception>
#include <fmt/format.h>

#include <galapagos/comm/node_buffer.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {

NodeBuffer::NodeBuffer(const Communicator& node, std::size_t bytes) {
  void* own = nullptr;
  if (MPI_Win_allocate_shared(node.is_root() ? static_cast<MPI_Aint>(bytes) : 0, 1, MPI_INFO_NULL,
                              node.handle(), &own, &window_) != MPI_SUCCESS) {
    throw ResourceError(
        fmt::format("MPI cannot share {} of memory among the ranks of a node", human_bytes(bytes)),
        "/dev/shm", "enlarge it, use --level-cache file, or use fewer --calibration-tokens");
  }
  MPI_Aint size = 0;
  int unit = 1;
  void* start = nullptr;
  GALAPAGOS_MPI(MPI_Win_shared_query(window_, 0, &size, &unit, &start));
  bytes_ = {static_cast<std::byte*>(start), bytes};
  GALAPAGOS_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_));
}

NodeBuffer::~NodeBuffer() {
  // Freeing is collective: on the way of an exception that the other ranks do not know of it would never end.
  if (window_ == MPI_WIN_NULL || std::uncaught_exceptions() > 0) return;
  MPI_Win_unlock_all(window_);
  MPI_Win_free(&window_);
}

void NodeBuffer::synchronise(const Communicator& node) const {
  GALAPAGOS_MPI(MPI_Win_sync(window_));
  node.barrier();
  GALAPAGOS_MPI(MPI_Win_sync(window_));
}

}  // namespace galapagos
