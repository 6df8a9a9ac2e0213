#include "weight_copies.hpp"

#include <algorithm>
#include <cmath>

#include <galapagos/model/forward.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/search/relaxed_model.hpp>

namespace galapagos {
namespace {

OwnedTensor in_fp32(const ops::Context& context, const Tensor& tensor) {
  OwnedTensor wide(tensor.shape, DType::f32, context.device(), "the step to the next level");
  ops::convert(context, tensor, wide);
  return wide;
}

/// Where columns lie among others that hold them, all ascending.
std::vector<std::int64_t> places_among(const std::vector<std::int64_t>& columns,
                                       const std::vector<std::int64_t>& all) {
  std::vector<std::int64_t> places;
  for (const std::int64_t column : columns)
    places.push_back(std::lower_bound(all.begin(), all.end(), column) - all.begin());
  return places;
}

}  // namespace

std::int64_t level_below(const ModuleChoices& module, double relaxed) {
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(relaxed)), 0,
                                  std::max(0, module.last() - 1));
}

RelaxedPoint point_at(const SearchSpace& space, const RelaxedLevels& levels) {
  RelaxedPoint point;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    point.below.push_back(level_below(space.modules[i], levels[i]));
    point.share.push_back(levels[i] - static_cast<double>(point.below.back()));
  }
  return point;
}

RelaxedPoint rounded_point(const SearchSpace& space, const RelaxedLevels& levels, RandomStream random,
                           bool flipped) {
  RelaxedPoint point = point_at(space, levels);
  for (double& share : point.share) {
    const double drawn = (random.next() + 0.5) / 4294967296.0;
    share = share > (flipped ? 1 - drawn : drawn) ? 1 : 0;
  }
  return point;
}

RelaxedModel::RelaxedModel(const ops::Context& context, const SpacePart& part,
                           const std::vector<LayerWeights>& dense, const OwnedTensor& embedding,
                           const HeadWeights& head, ModuleCache& cache, std::int64_t most_tokens,
                           bool recompute, const Fitness& fitness, const Shards& shards)
    : context_(context),
      part_(part),
      dense_(dense),
      cache_(cache),
      shards_(shards),
      most_tokens_(most_tokens),
      with_dense_(row_of(fitness.kind).with_dense),
      point_{std::vector<std::int64_t>(part.space.modules.size(), -1), {}},
      dense_answers_(context, part.model.config, head, 0),
      pass_(context, part.model.config, most_tokens, recompute, shards, row_of(fitness.kind).by_gradient()) {
  weights_.layers.resize(dense.size());
  weights_.embedding = copy(embedding);
  weights_.norm = copy(head.norm);
  if (!part.model.config.tie_word_embeddings) weights_.head = copy(head.head);
}

std::uint64_t RelaxedModel::bytes(const HfConfig& config, const Sizes& sizes, DType precision,
                                  std::int64_t most_tokens, bool recompute, const Fitness& fitness,
                                  Device device, DType activations) {
  constexpr std::uint64_t copies = 4;  // of a module's weight at a time: see blend()
  return static_cast<std::uint64_t>(sizes.parameters) * size_of(precision) +
         static_cast<std::uint64_t>(sizes.outputs + copies * sizes.widest) * sizeof(float) +
         DrawAnswers::bytes(config, most_tokens, device, activations) +
         TrainingPass::bytes(config, most_tokens, recompute, device, activations,
                             row_of(fitness.kind).by_gradient());
}

void RelaxedModel::take_module(std::size_t module, std::int64_t level) {
  const ModuleId& id = part_.space.modules[module].id;
  const LayerWeights& dense = dense_[static_cast<std::size_t>(id.layer)];
  LayerWeights& own = weights_.layers[static_cast<std::size_t>(id.layer)];
  const std::shared_ptr<const BuiltModule> built =
      level < part_.space.first_stored ? nullptr : cache_.get(module, level);
  if (id.kind == ModuleKind::attention) {
    own.attention = copy(built ? built->attention : dense.attention);
  } else {
    own.ffn = copy(built ? built->ffn : dense.ffn);
  }
}

RelaxedModel::LevelWeight RelaxedModel::weight_at(std::size_t module, std::int64_t level) const {
  const ModuleId& id = part_.space.modules[module].id;
  const LayerWeights& dense = dense_[static_cast<std::size_t>(id.layer)];
  LevelWeight found;
  if (level >= part_.space.first_stored) found.built = cache_.get(module, level);
  if (id.kind == ModuleKind::attention) {
    const AttentionWeights& attention = found.built ? found.built->attention : dense.attention;
    found.weight = &attention.o, found.bias = &attention.o_bias;
  } else {
    const FfnWeights& ffn = found.built ? found.built->ffn : dense.ffn;
    found.weight = &ffn.down, found.bias = &ffn.down_bias;
  }
  return found;
}

/// From the weight of the level below to that of the next, fp32, on the columns of the former.
OwnedTensor RelaxedModel::step(std::size_t module) const {
  const ModuleChoices& choices = part_.space.modules[module];
  const auto below = static_cast<std::size_t>(point_.below[module]);
  const LevelWeight lower = weight_at(module, point_.below[module]),
                    upper = weight_at(module, point_.below[module] + 1);
  const OwnedTensor& from = *lower.weight;
  const OwnedTensor spread = with_zeros(context_, *upper.weight, from->rows(), from->columns(), from->dtype,
                                        places_among(choices.kept[below + 1], choices.kept[below]));
  OwnedTensor difference = in_fp32(context_, spread);
  ops::combine(context_, -1, in_fp32(context_, from), 1, difference);
  return difference;
}

/// Whether the next level leaves nothing of the module, on any shard: its bias then goes, too.
bool RelaxedModel::goes(std::size_t module) const {
  return part_.space.modules[module].gone[static_cast<std::size_t>(point_.below[module]) + 1];
}

/// Puts `share` of the way to the next level into the module's weight.
void RelaxedModel::blend(std::size_t module, double share) {
  const ModuleChoices& choices = part_.space.modules[module];
  if (choices.last() == 0) return;
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(choices.id.layer)];
  const bool attention = choices.id.kind == ModuleKind::attention;
  const Tensor output = attention ? layer.attention.o.view() : layer.ffn.down.view();
  const Tensor bias = attention ? layer.attention.o_bias.view() : layer.ffn.down_bias.view();
  const LevelWeight lower = weight_at(module, point_.below[module]);
  if (!bias.empty() && goes(module))
    ops::combine(context_, static_cast<float>(1 - share), *lower.bias, 0, bias);
  if (output.empty()) return;
  const OwnedTensor blended = in_fp32(context_, *lower.weight);
  ops::combine(context_, static_cast<float>(share), step(module), 1, blended);
  ops::convert(context_, blended, output);
}

void RelaxedModel::take(const RelaxedPoint& point) {
  for (std::size_t i = 0; i < point.below.size(); ++i) {
    const bool same = point.below[i] == point_.below[i];
    if (same && point.share[i] == point_.share[i]) continue;
    if (!same) take_module(i, point.below[i]);
    point_.below[i] = point.below[i];
    blend(i, point.share[i]);
  }
  point_.share = point.share;
}

double RelaxedModel::slope(std::size_t module, const Gradients& gradients) const {
  const ModuleChoices& choices = part_.space.modules[module];
  const LayerGradients& layer = gradients.layer(static_cast<std::size_t>(choices.id.layer));
  const bool attention = choices.id.kind == ModuleKind::attention;
  const Tensor& by_weight = attention ? layer.attention.o : layer.ffn.down;
  const Tensor& by_bias = attention ? layer.attention.o_bias : layer.ffn.down_bias;
  if (choices.last() == 0) return 0;
  double sum = by_weight.empty() ? 0 : ops::inner_product(context_, by_weight, step(module));
  if (!by_bias.empty() && shards_.is_root() && goes(module))  // all shards have the same
    sum -= ops::inner_product(context_, by_bias, *weight_at(module, point_.below[module]).bias);
  return sum;
}

std::optional<RelaxedGradient> RelaxedModel::gradient(const RelaxedPoint& point, const TokenSet& pool,
                                                      const TokenDraw& draw, DenseAnswers answers,
                                                      const std::function<bool()>& stop) {
  const auto build = [&] { take(point); };
  if (shards_.alone()) {
    build();
  } else {
    agree(shards_.ranks(), build);  // a level may be damaged
  }
  const Gradients gradients = Gradients::of_outputs(weights_, context_.device());
  RelaxedGradient found{0, std::vector<double>(point.below.size(), 0.0)};
  if (with_dense_) shards_.run([&] { dense_answers_.take(answers, pool, draw); });
  for (const Batch& batch : make_batches(draw.tokens, draw.offsets, most_tokens_)) {
    if (shards_.root_says(stop && stop())) return std::nullopt;
    const std::int64_t begin = batch.tokens.data() - draw.tokens.data();
    ReferenceAnswer reference;
    reference.logits = [&](std::int64_t first, const Tensor& logits) {
      dense_answers_.logits(begin + first, logits.rows(), logits);
    };
    shards_.run([&] { found.loss += pass_.run(weights_, batch, 1, reference, gradients).all; });
    if (!std::isfinite(found.loss)) return found;
  }
  shards_.run([&] {
    // Backwards: of a cache that does not hold all levels, those taken last are still there.
    for (std::size_t i = point.below.size(); i-- > 0;) found.levels[i] = slope(i, gradients);
  });
  if (shards_.alone()) return found;
  const std::vector<double> all = shards_.ranks().all_gather(std::span<const double>(found.levels));
  for (std::size_t i = 0; i < point.below.size(); ++i) {
    found.levels[i] = 0;
    for (std::size_t at = i; at < all.size(); at += point.below.size()) found.levels[i] += all[at];
  }
  return found;
}

}  // namespace galapagos
