#pragma once

#include <cstddef>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// Collective. Whether what the ranks exchange arrives as it is: there are networks and versions of NCCL that
/// damage messages of some sizes in silence, not every time (NVIDIA/nccl issue 2001, pull request 2053). Sums
/// to all, in fp32 and where activations are bf16 also in that, sums to owners, and gathers, of whole numbers
/// whose sums are exact: 1, 2, 4, ... values up to `largest`, and odd numbers of them, in memory of the
/// context. The log says how long it took. FailureError on every rank where any value on any rank is wrong.
/// Does nothing on one rank.
void check_exchange(Collectives& collectives, const ops::Context& context, std::size_t largest,
                    DType activations);

/// Collective. The same of messages from each rank to the next.
void check_messages(Collectives& collectives, const ops::Context& context, std::size_t largest);

}  // namespace galapagos
