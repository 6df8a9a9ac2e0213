#include "stage_evaluator.hpp"

namespace galapagos {

std::optional<std::vector<double>> StageEvaluator::measure(const Assignment& base,
                                                           std::span<const Assignment> candidates,
                                                           const StageTokens& tokens) {
  const bool trained = !tokens.training.tokens.empty();  // each by itself
  const Chunks chunks = make_chunks(candidates, base, crew_.group.size(), trained);
  const std::int64_t first = std::exchange(
      first_chunk_, first_chunk_ + static_cast<std::int64_t>(chunks.size()) + crew_.group.size());
  const std::vector<double> given = measure_some(base, candidates, tokens, chunks, first);
  const std::vector<double> all =
      crew_.waiting([&] { return crew_.group.all_gather(std::span<const double>(given)); });
  std::vector<double> fitness(candidates.size());
  for (std::size_t at = 0; at < all.size(); at += given.size()) {
    if (all[at + given.size() - 1] == 0) return std::nullopt;
    for (std::size_t i = 0; i < fitness.size(); ++i) {
      if (all[at + fitness.size() + i] != 0) fitness[i] = all[at + i];
    }
  }
  return fitness;
}

std::vector<double> StageEvaluator::measure_some(const Assignment& base,
                                                 std::span<const Assignment> candidates,
                                                 const StageTokens& tokens, const Chunks& chunks,
                                                 std::int64_t first) {
  const std::size_t count = candidates.size();
  std::vector<double> given(2 * count + 1, 0.0);
  if (stop_()) return given;
  crew_.board.attempt([&] {
    while (const auto* chunk = take_chunk(chunks, first)) {
      std::vector<Assignment> own;
      for (const std::size_t i : *chunk) own.push_back(candidates[i]);
      const PhaseScope evaluating = crew_.phase("evaluating");
      const auto found = evaluator_.fitness(base, own, tokens, stop_);
      if (!found) return;
      for (std::size_t i = 0; i < own.size(); ++i) {
        given[(*chunk)[i]] = (*found)[i];
        given[count + (*chunk)[i]] = 1;
      }
    }
    given.back() = 1;
  });
  return given;
}

/// The next chunk of a stage that no rank of the group has taken yet; nothing where all are taken. Every rank
/// that gets through a stage is told so once, which is how all know what the counter says in the next stage.
const std::vector<std::size_t>* StageEvaluator::take_chunk(const Chunks& chunks, std::int64_t first) {
  const auto next = static_cast<std::size_t>(crew_.waiting([&] { return next_chunk_.take(); }) - first);
  return next < chunks.size() ? &chunks[next] : nullptr;
}

}  // namespace galapagos
