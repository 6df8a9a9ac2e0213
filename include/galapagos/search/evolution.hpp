#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/search/measurements.hpp>
#include <galapagos/search/mutation.hpp>
#include <galapagos/search/rank_correlation.hpp>
#include <galapagos/search/replica.hpp>
#include <galapagos/search/start.hpp>
#include <galapagos/search/surrogate.hpp>
#include <galapagos/search/token_draw.hpp>
#include <galapagos/search/topology.hpp>

namespace galapagos {

enum class Strategy : std::uint8_t {
  evolution,    ///< offspring are mutations of the island's parent (DarwinLM)
  random,       ///< offspring are random assignments of the same budget: the baseline
  sensitivity,  ///< no generations: what the islands begin with is compared
};

/// "evolution", "random" or "sensitivity".
std::string name_of(Strategy strategy);

/// One stage of a selection.
struct SelectionStage {
  std::int64_t survivors = 1;
  std::int64_t tokens = 0;           ///< calibration tokens on which candidates are compared
  std::int64_t training_tokens = 0;  ///< on which each is fine-tuned before; 0: not at all
};

/// What candidates are compared on, and what they are fine-tuned on before.
struct TokenPools {
  TokenSet compared;
  TokenSet training;  ///< may be empty where no stage trains
};

/// The tokens of one stage, the same for all of its candidates.
struct StageTokens {
  TokenDraw compared;
  TokenDraw training;  ///< empty where the stage does not train
};

struct EvolutionOptions {
  std::int64_t islands = 1;
  std::int64_t generations = 200;
  std::int64_t offspring = 16;
  std::int64_t proposals = 0;  ///< of the offspring, made by the surrogate; needs end losses
  std::vector<SelectionStage> stages;
  Topology topology;
  Strategy strategy = Strategy::evolution;
  Start start;                      ///< of the islands; the random strategy begins with random assignments
  std::int64_t compare_tokens = 0;  ///< of the common comparison of the islands
  std::int64_t eval_every = 0;      ///< generations from one comparison to the next; 0: only at the end
  std::uint64_t seed = 0;
};

/// Whether any stage fine-tunes its candidates.
bool trains(const EvolutionOptions& options);

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

/// The parents of all islands measured on common tokens.
struct Comparison {
  std::vector<double> fitness;  ///< of each island's parent
  std::vector<double> extra;    ///< what Evaluator::extra says of the best one

  std::size_t best() const;
};

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

/// What is to be written as the search goes on; called on rank 0 only.
struct Observer {
  std::function<void(const Population& population, std::span<const Migration> migrations)> generation;
  std::function<void(const Population& population, const Comparison& comparison)> comparison;
};

/// The parents that the islands begin with, as generation 0: what options.start says, or for the random
/// strategy random ones.
Population initial_population(const SearchSpace& space, const Budget& budget,
                              const EvolutionOptions& options);

/// Collective. Evolves from `start` to the last generation; the result is on every rank, and is the same for
/// any number of ranks. Ranks are dealt to islands: where there are more, the ranks of an island share its
/// evaluations; where there are fewer, a rank has several islands. Throws StoppedEarly on every rank where
/// `interrupted` (asked on every rank between evaluations) names a reason; NumericalError where no candidate
/// has a finite fitness. `times`, which may be null, is told of phases: evaluating, waiting, writing.
Population evolve(const Communicator& comm, const SearchSpace& space, const Budget& budget,
                  const EvolutionOptions& options, const TokenPools& pools, Population start,
                  const Evaluator& evaluator, const Observer& observer,
                  const std::function<std::optional<std::string>()>& interrupted,
                  PhaseTimes* times = nullptr);

}  // namespace galapagos
