#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/search/strategy.hpp>

namespace galapagos {

/// Measures candidates with all ranks of an island; nothing where the search is to end.
using GroupFitness = std::function<std::optional<std::vector<double>>(
    const Assignment& base, std::span<const Assignment> candidates, const StageTokens& tokens)>;

/// Immigrants of the island, fetched when the last stage begins; nothing where the search is to end.
using FetchImmigrants = std::function<std::optional<std::vector<Assignment>>()>;

/// One generation of one island, on every rank of the island alike. False where the search is to end; `state`
/// and `report` are then not to be used. `moments` are of what was measured before, as far as it is known.
bool run_generation(const SearchSpace& space, const Strategy& strategy, const EvolutionOptions& options,
                    const TokenPools& pools, const IslandGeneration& turn, const SurrogateMoments& moments,
                    const GroupFitness& fitness, const FetchImmigrants& immigrants, IslandState& state,
                    GenerationReport& report);

}  // namespace galapagos
