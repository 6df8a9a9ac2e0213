#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <galapagos/assignment/module_cache.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/model/training_pass.hpp>
#include <galapagos/search/draw_answers.hpp>
#include <galapagos/search/fitness.hpp>

namespace galapagos {

/// Levels between levels, of every module: at l + f, with f from 0 to 1, the weight of o_proj or down_proj is
/// (1 - f) times that of level l and f times that of level l + 1, whose columns are among those of level l;
/// from 0 to the last level. Where the next level leaves nothing, the bias goes in the same way.
using RelaxedLevels = std::vector<double>;

/// The level below, at most the last but one.
std::int64_t level_below(const ModuleChoices& module, double relaxed);

/// Where a model is measured: of every module the level below and the share of the way to the next.
struct RelaxedPoint {
  std::vector<std::int64_t> below;
  std::vector<double> share;  ///< from 0 to 1, both included
};
RelaxedPoint point_at(const SearchSpace& space, const RelaxedLevels& levels);
/// Every module at one of the two levels that it is between, the upper one where its share is above a random
/// number of its own; `flipped`: above 1 less that number, so that the two together are near the levels.
RelaxedPoint rounded_point(const SearchSpace& space, const RelaxedLevels& levels, RandomStream random,
                           bool flipped);

/// How a relaxed model's loss depends on its levels.
struct RelaxedGradient {
  double loss = 0;             ///< the sum over predicted tokens
  std::vector<double> levels;  ///< of that sum, by each module's level, towards the next
};

/// As RelaxedModel::gradient(), whose pool and answers are known already.
using MeasureGradient = std::function<std::optional<RelaxedGradient>(
    const RelaxedPoint& point, const TokenDraw& draw, const std::function<bool()>& stop)>;

/// The model at levels between levels, on one rank or on each of several shards, over which all calls are
/// collective. Nothing but levels is learned: weights stay as the database and the checkpoint have them.
class RelaxedModel {
 public:
  /// `most_tokens` of a batch; `recompute`: see TrainingPass. The references must outlive this.
  RelaxedModel(const ops::Context& context, const SpacePart& part, const std::vector<LayerWeights>& dense,
               const OwnedTensor& embedding, const HeadWeights& head, ModuleCache& cache,
               std::int64_t most_tokens, bool recompute, const Fitness& fitness, const Shards& shards);
  RelaxedModel(const RelaxedModel&) = delete;
  RelaxedModel& operator=(const RelaxedModel&) = delete;

  /// What it holds at some levels, in parameters: in all, of these o_proj and down_proj, and the most of such
  /// a weight of any one module.
  struct Sizes {
    std::int64_t parameters = 0, outputs = 0, widest = 0;
  };
  /// Bytes that this takes beside the modules of the cache.
  static std::uint64_t bytes(const HfConfig& config, const Sizes& sizes, DType precision,
                             std::int64_t most_tokens, bool recompute, const Fitness& fitness, Device device,
                             DType activations);

  /// The loss on the tokens of a draw, in batches of at most `most_tokens` tokens or of one sequence, and its
  /// gradient; nothing where `stop`, for whose answer the root is asked, says so between two batches. That of
  /// sparse_kl is taken of the whole vocabulary. NaN or infinity is returned as it is.
  std::optional<RelaxedGradient> gradient(const RelaxedPoint& point, const TokenSet& pool,
                                          const TokenDraw& draw, DenseAnswers answers,
                                          const std::function<bool()>& stop);

 private:
  /// A module's o_proj or down_proj at a level and its bias, with what keeps them.
  struct LevelWeight {
    std::shared_ptr<const BuiltModule> built;
    const OwnedTensor *weight = nullptr, *bias = nullptr;
  };

  LevelWeight weight_at(std::size_t module, std::int64_t level) const;
  void take(const RelaxedPoint& point);
  void take_module(std::size_t module, std::int64_t level);
  void blend(std::size_t module, double share);
  bool goes(std::size_t module) const;
  OwnedTensor step(std::size_t module) const;
  double slope(std::size_t module, const Gradients& gradients) const;

  const ops::Context& context_;
  const SpacePart& part_;
  const std::vector<LayerWeights>& dense_;
  ModuleCache& cache_;
  const Shards& shards_;
  std::int64_t most_tokens_;
  bool with_dense_;
  ModelWeights weights_;
  RelaxedPoint point_;  // that the weights have now; below it -1: none yet
  DrawAnswers dense_answers_;
  TrainingPass pass_;
};

}  // namespace galapagos
