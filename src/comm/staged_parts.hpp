#pragma once

#include <cstdint>
#include <span>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/comm/gathered_part.hpp>
#include <galapagos/comm/staging.hpp>

namespace galapagos {

/// Collectives::sum_to_owners() and all_gather_parts() in rounds through the places of a staging: a round's
/// values are copied up while the next round's come down and are exchanged.
void sum_to_owners(const Communicator& ranks, Staging& staging, float* values,
                   std::span<const std::uint64_t> bounds);
void all_gather_parts(const Communicator& ranks, Staging& staging, std::span<const GatheredPart> parts);

}  // namespace galapagos
