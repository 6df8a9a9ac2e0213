#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/assignment/module_cache.hpp>
#include <galapagos/assignment/space.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/search/evaluation_seconds.hpp>
#include <galapagos/search/fitness_meter.hpp>
#include <galapagos/search/relaxed_model.hpp>
#include <galapagos/search/token_draw.hpp>
#include <galapagos/training/fine_tune.hpp>

namespace galapagos {

/// How candidates are fine-tuned before they are compared.
struct FineTuning {
  FineTuneOptions options;
  /// As DarwinLM's code does it: in the shapes of the unpruned model, where what was pruned begins at zero
  /// but is trained like everything else, so that the model compared is not the one that would be exported.
  bool unmasked = false;
};

/// The loss of each token of a draw, of each of some candidates. What a sequence's last token has means
/// nothing.
using TokenLosses = std::vector<std::vector<double>>;

/// One copy of the model, which takes on any assignment: on one rank, or its part on each of several shards,
/// over which all calls are then collective, with the same arguments but for `stop`: all are asked, the
/// root's answer counts. What a shard throws is not agreed on but where it is of a level.
class Replica {
 public:
  /// Loads the model, or the part. The references must outlive this. `longest`: tokens of the longest
  /// sequence to come; `cache_limit`: bytes of built modules kept; `kept_logits`: bytes of the dense model's
  /// logits kept from one call to the next.
  Replica(const ops::Context& context, const Checkpoint& checkpoint, const HfConfig& config,
          const SearchSpace& space, const LevelStore& store, DType precision, std::int64_t batch_tokens,
          std::int64_t longest, std::uint64_t cache_limit, const Shards& shards = alone(),
          std::uint64_t kept_logits = 0);
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  /// The dense model's answers to a batch, [tokens, hidden].
  void dense_answers(const Batch& batch, std::span<float> answers);

  /// The fitness of candidates on the tokens of a draw. They may share layers with `base`, which is walked
  /// once: each candidate is computed from its first difference to it on. Nothing where `stop` says so
  /// between two batches. NaN or infinite fitness is returned as it is. The answers of a pool must be the
  /// same in all calls, and stay where they are.
  std::optional<std::vector<double>> fitness(const Fitness& fitness, const Assignment& base,
                                             std::span<const Assignment> candidates, const TokenSet& pool,
                                             const TokenDraw& draw, DenseAnswers answers,
                                             const std::function<bool()>& stop);

  /// The same token by token.
  std::optional<TokenLosses> losses(const Fitness& fitness, const Assignment& base,
                                    std::span<const Assignment> candidates, const TokenSet& pool,
                                    const TokenDraw& draw, DenseAnswers answers,
                                    const std::function<bool()>& stop);

  /// fitness() after each candidate was fine-tuned on `training`, which is then forgotten. The fitness of one
  /// whose loss or gradient becomes NaN or infinite is NaN.
  std::optional<std::vector<double>> tuned_fitness(const Fitness& fitness, const FineTuning& tuning,
                                                   std::span<const Assignment> candidates,
                                                   const TokenDraw& training, const TokenSet& pool,
                                                   const TokenDraw& draw, DenseAnswers answers,
                                                   const std::function<bool()>& stop);

  /// The model at levels between levels, for batches of at most `most_tokens` tokens. It refers to this.
  std::unique_ptr<RelaxedModel> relaxed(const Fitness& fitness, std::int64_t most_tokens, bool recompute);

  /// A candidate's own copy of all weights (of the part): as small as it is, or with `unmasked` in the shapes
  /// of the unpruned model with zeros in o_proj and down_proj.
  ModelWeights weights_of(const Assignment& assignment, bool unmasked);
  /// The configuration of those weights.
  HfConfig config_of(const Assignment& assignment, bool unmasked) const;

  const EvaluationSeconds& seconds() const { return seconds_; }
  std::uint64_t modules_built() const { return cache_.built(); }

 private:
  using Modules = std::vector<std::shared_ptr<const BuiltModule>>;  // nothing for the model's own

  Modules switch_to(const Assignment& assignment, std::size_t from, std::size_t to);
  /// A layer's mixture of which `built` are the experts, those that are nothing its own.
  FfnWeights mixture_of(std::int64_t layer, std::span<const std::shared_ptr<const BuiltModule>> built) const;
  /// False where `stop` says so between two batches.
  bool stop_asked(const std::function<bool()>& stop) const { return shards_.root_says(stop && stop()); }
  bool run_modules(const Assignment& assignment, std::size_t from, std::size_t to,
                   std::span<const Batch> batches, const Tensor& hidden, const std::function<bool()>& stop);
  /// FitnessMeter::losses(), timed.
  std::vector<double> compare(const Fitness& fitness, std::span<const OwnedTensor> finals, const Tensor& norm,
                              const Tensor& head, const TokenSet& pool, const TokenDraw& draw,
                              DenseAnswers answers, const std::function<bool()>& stop);

  const ops::Context& context_;
  const Shards& shards_;
  SpacePart part_;
  const HfConfig& config_;    // of the part
  const SearchSpace& space_;  // likewise
  DType precision_;
  std::int64_t batch_tokens_;
  std::vector<LayerWeights> dense_;
  OwnedTensor embedding_;
  HeadWeights head_;
  ModuleCache cache_;
  LayerForward forward_;
  FitnessMeter meter_;
  EvaluationSeconds seconds_;
};

}  // namespace galapagos
