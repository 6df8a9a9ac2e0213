#include "proposals.hpp"
#include "streams.hpp"

#include <algorithm>
#include <set>

#include <galapagos/search/mutation.hpp>
#include <galapagos/search/strategy.hpp>

namespace galapagos {
namespace {

/// The best are handed on: as many as may migrate, the parent among them.
class BestFirst : public Strategy {
 public:
  BestFirst(const SearchSpace& space, const Budget& budget, const EvolutionOptions& options)
      : space_(space), budget_(budget), options_(options) {}

  void accept(const IslandGeneration&, std::vector<Candidate> measured, IslandState& state) const override {
    const auto kept = static_cast<std::size_t>(std::max<std::int64_t>(1, options_.topology.most_migrants()));
    if (measured.size() > kept) measured.resize(kept);
    state.elites = std::move(measured);
  }

 protected:
  /// Adds up to `count` assignments that `make(random)` makes and that are not `known`.
  template <typename Make>
  void add_distinct(const IslandGeneration& turn, std::int64_t count, Origin origin,
                    std::set<Assignment>& known, std::vector<Offspring>& offspring, Make&& make) const {
    constexpr std::int64_t tries_for_offspring = 100;
    for (std::int64_t individual = 0; individual < count; ++individual) {
      // One stream for all tries of an individual.
      RandomStream random = stream(options_.seed, turn.island, turn.generation, individual, Draw::offspring);
      for (std::int64_t attempt = 0; attempt < tries_for_offspring; ++attempt) {
        Assignment child = make(random);
        if (!known.insert(child).second) continue;
        offspring.push_back({std::move(child), origin});
        break;
      }
    }
  }

  const SearchSpace& space_;
  const Budget& budget_;
  const EvolutionOptions& options_;
};

/// Offspring are mutations of the parent (DarwinLM), and what the surrogate proposes.
class Evolving final : public BestFirst {
 public:
  using BestFirst::BestFirst;

  Assignment start(std::int64_t island) const override {
    return start_of_island(space_, budget_, options_.start, options_.seed, island);
  }
  std::vector<Offspring> propose(const IslandGeneration& turn, const IslandState& state,
                                 const Experience& experience) const override {
    const Assignment& parent = state.elites.front().assignment;
    std::vector<Assignment> proposals;
    if (options_.proposals > 0)
      proposals = galapagos::propose(space_, budget_, options_, turn, parent, experience);
    std::set<Assignment> known(proposals.begin(), proposals.end());
    known.insert(parent);
    std::vector<Offspring> offspring;
    add_distinct(turn, options_.offspring - std::ssize(proposals), Origin::mutation, known, offspring,
                 [&](RandomStream& random) { return mutate(budget_, parent, random); });
    for (Assignment& one : proposals) offspring.push_back({std::move(one), Origin::proposal});
    return offspring;
  }
};

/// The baseline: it has no knowledge to begin with, as where the others begin is a good assignment.
class DrawnAtRandom final : public BestFirst {
 public:
  using BestFirst::BestFirst;

  Assignment start(std::int64_t island) const override {
    RandomStream random = stream(options_.seed, island, 0, 0, Draw::offspring);
    return random_assignment(budget_, random);
  }
  std::vector<Offspring> propose(const IslandGeneration& turn, const IslandState& state,
                                 const Experience&) const override {
    std::set<Assignment> known = {state.elites.front().assignment};
    std::vector<Offspring> offspring;
    add_distinct(turn, options_.offspring, Origin::random, known, offspring,
                 [&](RandomStream& random) { return random_assignment(budget_, random); });
    return offspring;
  }
};

}  // namespace

std::unique_ptr<Strategy> make_strategy(const SearchSpace& space, const Budget& budget,
                                        const EvolutionOptions& options) {
  // The strategy sensitivity is an evolution without generations.
  if (options.strategy == StrategyKind::random)
    return std::make_unique<DrawnAtRandom>(space, budget, options);
  return std::make_unique<Evolving>(space, budget, options);
}

Population initial_population(const Strategy& strategy, std::int64_t islands) {
  Population population;
  for (std::int64_t island = 0; island < islands; ++island) {
    IslandState state;
    state.elites.push_back({strategy.start(island), 0.0});
    population.islands.push_back(std::move(state));
  }
  return population;
}

}  // namespace galapagos
