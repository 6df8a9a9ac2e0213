#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/search/population.hpp>

namespace galapagos {

/// Bytes of the greatest record that an island of `modules` modules may have, whose strategy remembers up to
/// `memory` numbers.
std::size_t record_bytes(std::size_t modules, const EvolutionOptions& options, std::size_t memory);

/// The number of records and a record for each of `islands`.
std::vector<std::byte> write_records(std::span<const std::int64_t> islands,
                                     std::span<const IslandState> states,
                                     std::span<const GenerationReport> reports);

/// Puts the records of one rank (none where all bytes are zero) into their places.
void read_records(std::span<const std::byte> bytes, std::size_t modules, std::span<IslandState> states,
                  std::span<GenerationReport> reports);

/// All islands and the moments as bytes, and back; the generation is not among them.
std::vector<std::byte> pack(const Population& population);
Population unpack(std::span<const std::byte> bytes, std::size_t modules, std::size_t islands);

}  // namespace galapagos
