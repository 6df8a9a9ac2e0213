#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <galapagos/search/archive.hpp>
#include <galapagos/search/breeding.hpp>
#include <galapagos/search/evolution_options.hpp>
#include <galapagos/search/gains.hpp>
#include <galapagos/search/surrogate.hpp>

namespace galapagos {

/// A candidate that is to be measured on a block.
struct Trial {
  Assignment assignment;
  Origin origin = Origin::mutation;
  double expected = 0;  ///< what it is expected to lose beyond the incumbent, by the surrogate
};

/// What an island measures in one generation: all on the same block.
struct Heat {
  std::int64_t island = 0, generation = 0, block = 0;
  Assignment incumbent;
  std::vector<Trial> trials;
  std::size_t first_new = 0;  ///< the trials from here on are of new candidates
};

/// The same with what it came to: sums of segments, trial by trial.
struct MeasuredHeat {
  Heat heat;
  std::vector<std::vector<double>> sums;
};

/// How an island stands after a generation.
struct Standing {
  std::int64_t island = 0, generation = 0;
  std::int64_t trials = 0;       ///< of the generation
  std::int64_t evaluations = 0;  ///< so far
  std::int64_t challengers = 0;  ///< that are still in the race
  std::int64_t blocks = 0;       ///< that the incumbent was measured on
  Assignment incumbent;
  double loss = 0;  ///< of the incumbent on those, per token
  double mean = 0;  ///< of the generation's new candidates beyond their incumbent's, per token
  bool improved = false;
  std::map<Origin, double> shares;      ///< of new candidates, by how they are bred
  std::vector<Assignment> others = {};  ///< at a race's end, where asked for: challengers, the best first
};

/// What several islands know, which goes to others in logical time.
struct News {
  std::vector<const MeasuredHeat*> heats;  ///< of other islands, in a fixed order
  std::vector<Assignment> immigrants;
  std::vector<Assignment> incumbents;  ///< of other islands: mates
};

/// One island of the strategy racing, as a value that depends on what it was told alone. Its incumbent is
/// challenged by candidates that are bred from it; each is paired with it on the blocks that both were
/// measured on. What a challenger gains is judged by the mean difference, shrunk to what candidates of its
/// origin (and of its expectation) have gained so far: normal prior, normal likelihood, both by moments. It
/// is dropped where it is hardly better, and takes the incumbent's place where it is hardly worse. Half of a
/// generation are challengers that go on, by expected improvement; the others are bred anew, in shares by the
/// expected improvement of each way to breed.
class Race {
 public:
  /// `blocks`: those that are raced on; `near`: what levels lose near the start, or nothing, in place of what
  /// the surrogate expects. The references must outlive this.
  Race(const SearchSpace& space, const Budget& budget, const EvolutionOptions& options,
       const std::vector<TokenDraw>& blocks, std::int64_t island, Assignment start, EndLosses near = {});

  /// Before the first generation: what was measured elsewhere, on the same blocks and not again here, and
  /// whoever of it, or made of it, is to meet the incumbent.
  void know(std::span<const MeasuredHeat> heats, const std::vector<Trial>& challengers);
  /// The next generation's trials, none twice: 1, 2, ...
  Heat propose(std::int64_t generation, const News& news);
  /// Generations come in order.
  Standing accept(const MeasuredHeat& measured);

  const Assignment& incumbent() const { return incumbent_; }
  /// Challengers that were measured, the best first, as many as `most`.
  std::vector<Assignment> best_challengers(std::size_t most) const;

 private:
  struct Challenger {
    Assignment assignment;
    Origin origin = Origin::mutation;
    double expected = 0;
  };

  GainBelief belief(const Challenger& challenger) const;
  std::map<Origin, double> shares(const std::vector<Origin>& ways) const;
  std::vector<Assignment> fitted(std::vector<Assignment> immigrants, std::int64_t generation) const;
  void take_in(std::span<const MeasuredHeat* const> heats);
  void add_going_on(const std::vector<Assignment>& immigrants, Heat& heat);
  void add_new(const News& news, Heat& heat);
  void learn_gain(const Heat& heat, const Trial& trial);
  void enter(const Trial& trial);
  bool judge();

  const SearchSpace& space_;
  const Budget& budget_;
  const EvolutionOptions& options_;
  const std::vector<TokenDraw>& blocks_;
  std::int64_t island_;
  EndLosses near_;
  Assignment incumbent_;
  Archive archive_;
  std::vector<Challenger> challengers_;
  std::set<std::pair<Assignment, std::int64_t>> under_way_;
  std::set<Assignment> known_;  // whoever is to be measured, or was here
  Gains gains_;
  SurrogateMoments moments_;
  std::int64_t evaluations_ = 0;
  std::map<Origin, double> shares_;  // of the last proposal
};

}  // namespace galapagos
