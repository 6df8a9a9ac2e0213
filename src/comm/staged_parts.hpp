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

/// MPI's tag of what Collectives send.
inline constexpr int message_tag = 31001;
/// Collectives::send() and receive(), piece by piece in the same way.
void send(const Communicator& ranks, Staging& staging, const std::byte* data, std::size_t bytes, int to);
void receive(const Communicator& ranks, Staging& staging, std::byte* data, std::size_t bytes, int from);

}  // namespace galapagos
