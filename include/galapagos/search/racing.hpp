#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/search/race_knowledge.hpp>
#include <galapagos/search/replica.hpp>
#include <galapagos/search/watched.hpp>

namespace galapagos {

/// The loss of each token of a draw, of each of some candidates; nothing where `stop` said so in between. See
/// Replica::losses.
using MeasureLosses =
    std::function<std::optional<TokenLosses>(const Assignment& base, std::span<const Assignment> candidates,
                                             const TokenDraw& draw, const std::function<bool()>& stop)>;

/// What races need beside the space and the options.
struct Racing {
  std::span<const Budget> budgets;  ///< island i has that of place i modulo their number
  const std::vector<TokenDraw>& blocks;
  MeasureLosses losses;
  /// On rank 0: lines of the archive as they become known, each once, in any order; and how an island stands
  /// after each generation, in its order. What `saved` has is not told again of.
  std::function<void(const std::string& lines)> measured = {};
  std::function<void(const Standing& standing)> standing = {};
  std::function<std::optional<std::string>()> interrupted;
  std::vector<MeasuredTrial> saved = {};  ///< by an earlier run, the same on every rank
  /// What levels lose near where islands of each budget begin, if that is known: by it exchanges are drawn.
  std::span<const EndLosses> near = {};
  std::size_t others = 0;  ///< challengers of each island that are told of at the end
  Watching watching = {};  ///< the same on every rank
  std::function<void(const Watched&)> watched = {};  ///< on rank 0, once for each
  RaceKnowledge known = {};                          ///< from another race, the same on every rank
};

/// Collective. Races on all islands (see Race) from their starts to options.generations; how they end, by
/// island, is the same on every rank, for any number of ranks and at whatever pace, and where measurements
/// were saved before. No rank waits for others at the end of a generation: the trials of a generation follow
/// from its island's generations up to racing.lag + 1 before it and from those of others some more before,
/// and ranks without work begin with the next. Throws StoppedEarly on every rank where `interrupted` names a
/// reason; NumericalError where an island has no candidate of finite loss. `times` may be null.
std::vector<Standing> race(const Communicator& comm, const SearchSpace& space,
                           const EvolutionOptions& options, const Racing& racing,
                           const std::vector<Assignment>& starts, PhaseTimes* times = nullptr);

}  // namespace galapagos
