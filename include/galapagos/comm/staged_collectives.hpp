#pragma once

#include <cstddef>
#include <memory>

#include <galapagos/comm/collectives.hpp>

namespace galapagos {

/// How values get from where tensors lie into host memory that MPI can read, and back. Copies run in the
/// order in which they are asked for, beside the host and beside what is computed.
class Staging {
 public:
  static constexpr int places = 2;

  virtual ~Staging() = default;
  /// fp32 values that each place has room for.
  virtual std::size_t piece() const = 0;
  virtual float* host(int place) = 0;

  /// Copies asked for from now on see what has been computed so far.
  virtual void begin() = 0;
  /// To, and from, `at` bytes behind the beginning of the place.
  virtual void copy_down(const std::byte* from, int place, std::size_t at, std::size_t bytes) = 0;
  virtual void copy_up(int place, std::size_t at, std::byte* to, std::size_t bytes) = 0;
  /// The host waits for the last copy down to `place`, and for all that was asked for before it.
  virtual void wait_down(int place) = 0;
  /// What is computed from now on sees the copies asked for so far.
  virtual void end() = 0;
  /// The host waits for all copies.
  virtual void wait() noexcept = 0;
};

/// Sums over MPI of values that MPI cannot read, in pieces: while one is summed, the one before is copied up
/// and the next one down. The sums are made in finish_sum(). Pieces are as long on every rank.
std::unique_ptr<Collectives> make_staged_collectives(const Communicator& ranks,
                                                     std::unique_ptr<Staging> staging);

/// Over MPI, for values in the memory of a GPU on whose `stream` (a cudaStream_t) all else is computed:
/// through page-locked host memory, or without it where MPI reads GPU memory itself. ResourceError in a build
/// without CUDA.
std::unique_ptr<Collectives> make_gpu_mpi_collectives(const Communicator& ranks, void* stream);

}  // namespace galapagos
