#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <galapagos/comm/collectives.hpp>

namespace galapagos {

/// How long a rank waits for the others before it gives up: NCCL itself waits for ever.
struct NcclDeadlines {
  std::chrono::seconds start{120};  ///< until all ranks are connected
  std::chrono::seconds sum{1800};   ///< until a sum is done, what the slowest rank does before it included
};

/// Collective. Whether each of the ranks, all of which compute on GPUs, has one of its own, as NCCL wants it;
/// false in a build without NCCL.
bool nccl_can_connect(const Communicator& ranks);

/// Collective. Over NCCL, for values in the memory of each rank's own GPU, on whose `stream` (a cudaStream_t)
/// all else is computed: sums run beside it. Every rank throws where any cannot be connected: ResourceError
/// in a build without NCCL and where two ranks have one GPU, else FailureError. Later failures are thrown on
/// the ranks that notice them, where they start or finish a sum or wait for the GPU, and have to end all
/// ranks.
std::unique_ptr<Collectives> make_nccl_collectives(const Communicator& ranks, void* stream,
                                                   const NcclDeadlines& deadlines = {});

/// To be called again and again while the host has been waiting for the GPU for `waited`: throws FailureError
/// where NCCL has failed or a deadline has passed, after ending what the GPU waits for. Does nothing without
/// NCCL.
void check_nccl_while_waiting(std::chrono::duration<double> waited);
/// Whether there is anything to check.
bool nccl_in_use();

/// Whether this build has NCCL; and the version that it was built with ("none" without).
bool built_with_nccl();
std::string nccl_version();

}  // namespace galapagos
