#pragma once

#include "crew.hpp"

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/comm/shared_counter.hpp>
#include <galapagos/search/evaluator.hpp>

namespace galapagos {

/// Measures the candidates of a stage with all ranks of an island: whoever is free takes the next few.
class StageEvaluator {
 public:
  /// Collective. `stop`: whether this rank is to stop working. All must outlive this.
  StageEvaluator(Crew& crew, const Evaluator& evaluator, const std::function<bool()>& stop)
      : crew_(crew), evaluator_(evaluator), stop_(stop), next_chunk_(crew.all, crew.group) {}

  /// The fitness of the candidates, on all ranks of the group; nothing where one of them did not get through.
  std::optional<std::vector<double>> measure(const Assignment& base, std::span<const Assignment> candidates,
                                             const StageTokens& tokens);

 private:
  using Chunks = std::vector<std::vector<std::size_t>>;

  /// Fitness and whether it is this rank's, of each candidate; at the end, whether the rank has got through.
  std::vector<double> measure_some(const Assignment& base, std::span<const Assignment> candidates,
                                   const StageTokens& tokens, const Chunks& chunks, std::int64_t first);
  const std::vector<std::size_t>* take_chunk(const Chunks& chunks, std::int64_t first);

  Crew& crew_;
  const Evaluator& evaluator_;
  const std::function<bool()>& stop_;
  SharedCounter next_chunk_;
  std::int64_t first_chunk_ = 0;  // what it says when a stage begins
};

}  // namespace galapagos
