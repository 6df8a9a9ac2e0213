#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/search/evaluation_seconds.hpp>
#include <galapagos/search/evolution_options.hpp>
#include <galapagos/search/measurements.hpp>
#include <galapagos/search/rank_correlation.hpp>
#include <galapagos/search/surrogate.hpp>
#include <galapagos/search/token_draw.hpp>

namespace galapagos {

/// What candidates are compared on, and what they are fine-tuned on before.
struct TokenPools {
  TokenSet compared;
  TokenSet training;                          ///< may be empty where no stage trains
  std::vector<std::uint32_t> held_back = {};  ///< sequences of `compared` that nothing is learned from
};

/// The tokens of one stage, the same for all of its candidates.
struct StageTokens {
  TokenDraw compared;
  TokenDraw training;  ///< empty where the stage does not train
};

/// An assignment that was measured.
struct Candidate {
  Assignment assignment;
  double fitness = 0;  ///< on the tokens of the last stage it went through
};

/// All that an island hands on from one generation to the next.
struct IslandState {
  std::vector<Candidate> elites;     ///< best first; the first one is the parent of the next generation
  std::int64_t evaluations = 0;      ///< so far, candidates times stages
  std::int64_t tokens = 0;           ///< compared on so far, over all candidates
  std::int64_t training_tokens = 0;  ///< trained on so far
  /// Of predicted and measured losses in first stages so far, where there are end losses: predicted by their
  /// plain sum, and by the surrogate.
  RankSums ranks = {}, surrogate_ranks = {};
  std::vector<MeasuredStage> measured = {};  ///< in the last generation
  std::vector<double> memory = {};           ///< what the strategy remembers, of no meaning to others
};

/// What one island did in one generation.
struct GenerationReport {
  double mean = 0;           ///< of the offspring, in the first stage
  double predicted = 0;      ///< the mean of what they are predicted to lose, where there are end losses
  RankSums ranks;            ///< of the two over the offspring, likewise
  RankSums surrogate_ranks;  ///< of what the surrogate expected and what was measured, likewise
  bool improved = false;
  std::int64_t immigrants = 0;
  double wait_seconds = 0;
  EvaluationSeconds seconds;
};

/// The islands after a generation, the same on every rank.
struct Population {
  std::int64_t generation = 0;
  std::vector<IslandState> islands;
  std::vector<GenerationReport> reports;  ///< empty for generation 0
  SurrogateMoments moments;               ///< of all generations before this one, where there are end losses
};

/// One generation of one island.
struct IslandGeneration {
  std::int64_t island = 0, generation = 0;
};

/// What earlier measurements of all islands say, where there are end losses.
struct Experience {
  const Surrogate& surrogate;
  const SurrogateMoments& moments;
};

/// The parents of all islands measured on common tokens.
struct Comparison {
  std::vector<double> fitness;             ///< of each island's parent
  std::vector<double> extra;               ///< what Evaluator::extra says of the best one
  std::optional<std::size_t> chosen = {};  ///< by something else than fitness

  /// The island of the least fitness, or the one that is chosen.
  std::size_t best() const;
};

}  // namespace galapagos
