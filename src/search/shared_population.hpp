#pragma once

#include "crew.hpp"

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/search/population.hpp>

namespace galapagos {

/// What all ranks know of all islands: the last generation that every rank has told of. Islands go on while
/// the next one is on its way.
class SharedPopulation {
 public:
  /// `publish` is called on the root with every generation once it is known. All must outlive this.
  SharedPopulation(Crew& crew, const SearchSpace& space, const Topology& topology, Population start,
                   const std::function<void(const Population&)>& publish)
      : crew_(crew), space_(space), topology_(topology), publish_(publish), known_(std::move(start)) {}

  const Population& known() const { return known_; }

  /// Begins to tell of this rank's islands after `generation`; what it told before must be finished.
  void tell(std::span<const IslandState> states, std::span<const GenerationReport> reports,
            std::int64_t generation);
  /// Takes in what all islands have told of last. All ranks of the group come to the same answer: false where
  /// a rank has failed meanwhile.
  bool finish();
  /// On the root, between two waits: takes it in where it is complete, so that it is saved soon.
  void take_in_early();

  /// The immigrants of an island in `generation`; nothing where finish() says so.
  std::optional<std::vector<Assignment>> immigrants(const IslandGeneration& turn);
  /// Of what all islands have measured up to two generations before `turn`, and this one, with its `state`,
  /// in the last: the same whether or not the others' last generation is known here.
  SurrogateMoments moments_for(const IslandGeneration& turn, const IslandState& state) const;

  /// Collective, at the end: the last generation that all have told of.
  Population end();

 private:
  void take_in();
  void learn_from(const std::vector<IslandState>& islands, SurrogateMoments& moments) const;

  Crew& crew_;
  const SearchSpace& space_;
  const Topology& topology_;
  const std::function<void(const Population&)>& publish_;
  Population known_;
  std::int64_t told_ = 0;     // the last generation that this rank has told of
  bool pending_ = false;      // it was told, and finish() has not seen that to its end
  bool unpublished_ = false;  // publishing has failed
};

}  // namespace galapagos
