#pragma once

#include <memory>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/comm/staging.hpp>

namespace galapagos {

/// Sums over MPI of values that MPI cannot read, in pieces: while one is summed, the one before is copied up
/// and the next one down. The sums are made in finish_sum(). Pieces are as long on every rank.
std::unique_ptr<Collectives> make_staged_collectives(const Communicator& ranks,
                                                     std::unique_ptr<Staging> staging);

/// Over MPI, for values in the memory of a GPU on whose `stream` (a cudaStream_t) all else is computed:
/// through page-locked host memory, or without it where MPI reads GPU memory itself. ResourceError in a build
/// without CUDA.
std::unique_ptr<Collectives> make_gpu_mpi_collectives(const Communicator& ranks, void* stream);

}  // namespace galapagos
