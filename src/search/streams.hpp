#pragma once

#include <cstdint>

#include <galapagos/core/random.hpp>

namespace galapagos {

/// What random numbers of a search are for.
enum class Draw : std::uint8_t {
  offspring = 1,
  tokens = 2,
  migration = 3,
  comparison = 4,
  training = 5,
  comparison_training = 6,
  start = 7,
  proposal = 8,
  relaxation = 9,
  blocks = 10,
  rounding = 11
};

inline RandomStream stream(std::uint64_t seed, std::int64_t island, std::int64_t generation,
                           std::int64_t individual, Draw kind) {
  return RandomStream(seed, {static_cast<std::uint32_t>(island), static_cast<std::uint32_t>(generation),
                             static_cast<std::uint32_t>(individual), static_cast<std::uint8_t>(kind)});
}

}  // namespace galapagos
