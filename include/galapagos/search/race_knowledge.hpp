#pragma once

#include <span>
#include <vector>

#include <galapagos/search/race_lines.hpp>

namespace galapagos {

/// What islands know before their first generation, from what another race has measured.
struct RaceKnowledge {
  std::vector<MeasuredHeat> heats;              ///< one for each block, of no island and no generation
  std::vector<std::vector<Trial>> challengers;  ///< of each island, the best first
};

/// Challengers are as many as --offspring on each island, dealt among the islands of one budget: those that
/// fill the budget, by their mean difference from the one of them that was measured on most blocks, shrunk to
/// what all differ from it; then others, moved into the budget, those first that were measured most. `trials`
/// as known_trials() gives them; island i has the budget of place i modulo their number.
RaceKnowledge knowledge_of(const SearchSpace& space, std::span<const Budget> budgets,
                           const EvolutionOptions& options, const std::vector<TokenDraw>& blocks,
                           const std::vector<MeasuredTrial>& trials);

}  // namespace galapagos
