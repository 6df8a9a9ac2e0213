#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/model/logit_losses.hpp>
#include <galapagos/model/shard_traffic.hpp>
#include <galapagos/model/training_loss.hpp>

namespace galapagos {

/// What candidates are compared by; lower is better. kl: mean over the predicted tokens of KL(dense ||
/// candidate) over the whole vocabulary; sparse_kl: over the dense model's k most probable tokens; tv:
/// mean of the total variation distance of the two, from 0 to 1; ppl: perplexity; nll: its logarithm.
enum class FitnessKind : std::uint8_t { kl, sparse_kl, tv, ppl, nll };

struct Fitness {
  FitnessKind kind = FitnessKind::kl;
  std::int64_t top_k = 512;
};

/// What a kind of fitness takes: a further one is a row of these.
struct FitnessRow {
  const char* name;
  bool chosen;        ///< whether --fitness may ask for it
  bool with_dense;    ///< whether it needs the dense model's answers
  bool gathers_rows;  ///< whether shards gather whole rows of logits, of both models
  /// The loss of each token from a candidate's logits and what comes next.
  void (*loss)(LogitLosses& losses, const Fitness& fitness, const Tensor& logits,
               std::span<const std::int32_t> targets, const ops::RowValues& found);
  double (*finish)(double mean);                     ///< the fitness from the mean of those losses
  ShardTraffic (*traffic)(std::int64_t vocabulary);  ///< of a candidate's token, beside the reference's
  TrainingLoss (*by_gradient)();                     ///< against whose gradient levels are learned
};

const FitnessRow& row_of(FitnessKind kind);

/// "kl" and so on.
std::string name_of(FitnessKind kind);
/// Those that --fitness may ask for, by their names.
std::vector<std::pair<std::string, FitnessKind>> fitness_choices();

}  // namespace galapagos
