#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/search/race_lines.hpp>
#include <galapagos/search/watched.hpp>

namespace galapagos {

/// What the ranks of a race tell each other: trials that were measured, and maybe how an island stands after
/// its heat, or how its incumbent was watched. In bytes rather than lines, as every rank reads what all
/// others have measured.
struct RaceMessage {
  std::vector<MeasuredTrial> trials;
  std::optional<Standing> standing;
  std::optional<Watched> watched = {};
};

std::vector<std::byte> to_bytes(const RaceMessage& message);
/// Of such bytes, which a rank of the same race has made.
RaceMessage race_message_of(std::span<const std::byte> bytes, const SearchSpace& space);

}  // namespace galapagos
