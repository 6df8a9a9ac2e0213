#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/search/population.hpp>

namespace galapagos {

/// How candidates are measured; called on the ranks of a worker's own.
struct Evaluator {
  /// The fitness of candidates; nothing where `stop` said so in between. See Replica::fitness and
  /// Replica::tuned_fitness.
  std::function<std::optional<std::vector<double>>(
      const Assignment& base, std::span<const Assignment> candidates, const StageTokens& tokens,
      const std::function<bool()>& stop)>
      fitness;
  /// Where the time of `fitness` went so far.
  std::function<EvaluationSeconds()> seconds = [] { return EvaluationSeconds(); };
  /// Further figures of an assignment: item `i` of `extra_items`, dealt over the ranks; their results are
  /// handed to the observer in order.
  std::function<double(const Assignment& assignment, std::size_t item)> extra;
  std::size_t extra_items = 0;
};

}  // namespace galapagos
