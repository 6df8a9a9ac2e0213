#pragma once

#include <memory>
#include <vector>

#include <galapagos/search/budget.hpp>
#include <galapagos/search/population.hpp>

namespace galapagos {

struct Offspring {
  Assignment assignment;
  Origin origin = Origin::mutation;
};

/// How islands look for better assignments. One object serves all islands of a search and stays as it is:
/// what an island's strategy has to remember is in IslandState::memory, which records, checkpoints and
/// thereby all ranks have. Random numbers come from streams of the seed and the turn alone.
class Strategy {
 public:
  virtual ~Strategy() = default;

  /// Where an island begins.
  virtual Assignment start(std::int64_t island) const = 0;
  /// Offspring to be measured: no two alike, none like the island's parent; fewer than asked for where there
  /// are hardly that many.
  virtual std::vector<Offspring> propose(const IslandGeneration& turn, const IslandState& state,
                                         const Experience& experience) const = 0;
  /// Hands on what went through the last stage, best first: the island's elites, of which the first is the
  /// next parent, and its memory.
  virtual void accept(const IslandGeneration& turn, std::vector<Candidate> measured,
                      IslandState& state) const = 0;
  /// Numbers of a memory, at most.
  virtual std::size_t memory() const { return 0; }
};

/// What options.strategy names. The references must outlive it.
std::unique_ptr<Strategy> make_strategy(const SearchSpace& space, const Budget& budget,
                                        const EvolutionOptions& options);

/// The islands as a strategy begins them, as generation 0.
Population initial_population(const Strategy& strategy, std::int64_t islands);

}  // namespace galapagos
