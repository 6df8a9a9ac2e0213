#pragma once

#include <cstdint>
#include <mpi.h>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/comm/node_buffer.hpp>

namespace galapagos {

/// A number that all ranks of a group count on, from 0, without waiting for each other: for work that whoever
/// is free takes. Making and destroying one is collective, the former over all ranks that make one. Within a
/// node it lies in shared memory. Across nodes it is a window of rank 0: on networks without remote atomics
/// take() may last until rank 0 calls MPI next. Where MPI has no windows across them (Debian's Open MPI over
/// TCP), a rank is given its own and each size-th number after that, whether it is quicker than the others or
/// not; it takes one at a time then.
class SharedCounter {
 public:
  /// Each rank of `all` is in one `group`. `remote`: a window also within a node, which tests want.
  SharedCounter(const Communicator& all, const Communicator& group, bool remote = false);
  ~SharedCounter();
  SharedCounter(const SharedCounter&) = delete;
  SharedCounter& operator=(const SharedCounter&) = delete;

  /// Adds `count`; what the number was before.
  std::int64_t take(std::int64_t count = 1);

 private:
  void make_buffer(const Communicator& group);
  void make_window(const Communicator& group);
  void deal(const Communicator& group);

  NodeBuffer buffer_;
  MPI_Win window_ = MPI_WIN_NULL;
  std::int64_t own_ = 0;             // of a group of one, or where numbers are dealt out
  std::int64_t step_ = 1;            // from one that is dealt to the next
  std::int64_t* in_memory_ = &own_;  // nothing where it is a window
};

}  // namespace galapagos
