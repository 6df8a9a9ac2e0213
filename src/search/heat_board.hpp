#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include <galapagos/search/race_lines.hpp>

namespace galapagos {

/// What a rank knows of all islands' generations, in whatever order it came.
class HeatBoard {
 public:
  explicit HeatBoard(std::int64_t islands) : islands_(static_cast<std::size_t>(islands)) {}

  void add(const MeasuredTrial& trial, bool saved);
  /// False where it is known already.
  bool add(const Standing& standing);

  /// Whether an earlier run has measured this trial of a heat.
  bool saved(const Heat& heat, std::size_t trial) const;
  /// Whether all that an earlier run has measured of a heat is of it.
  bool fits(const Heat& heat) const;
  /// Whether all trials of a heat are measured.
  bool measured(std::int64_t island, const Heat& heat) const;
  MeasuredHeat measured_heat(Heat heat) const;
  /// Whether a generation of any island is known as a whole: its standing and as many trials.
  bool complete(std::int64_t island, std::int64_t generation) const;
  /// Whether all islands' last generation is.
  bool all_complete(std::int64_t generations) const;
  /// Of one that is: its heat, which is kept as long as this, without its incumbent; and its standing.
  const MeasuredHeat& heat(std::int64_t island, std::int64_t generation) const;
  const Standing& standing(std::int64_t island, std::int64_t generation) const;
  /// Drops what was measured in all islands' generation, which is known as a whole; its standing stays.
  void forget(std::int64_t generation);

 private:
  struct Generation {
    std::map<std::size_t, MeasuredTrial> trials;
    std::map<std::size_t, bool> saved;
    std::optional<Standing> standing;
    bool forgotten = false;
    mutable std::optional<MeasuredHeat> heat;
  };

  const Generation* find(std::int64_t island, std::int64_t generation) const;
  Generation& at(std::int64_t island, std::int64_t generation) {
    return islands_[static_cast<std::size_t>(island)][generation];
  }

  std::vector<std::map<std::int64_t, Generation>> islands_;
};

}  // namespace galapagos
