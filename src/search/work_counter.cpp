#include "work_counter.hpp"

#include <algorithm>

#include <galapagos/model/cost.hpp>
#include <galapagos/training/optimiser.hpp>

namespace galapagos {

WorkCounter::WorkCounter(const SearchSpace& space, const HfConfig& config, const SearchOptions& options,
                         DType precision, DType activations, std::int64_t sequence_length)
    : searched_(space),
      space_(space.every_module()),
      config_(config),
      options_(options),
      precision_(precision),
      activations_(activations),
      sequence_length_(sequence_length) {
  const FitnessRow& row = row_of(options.fitness.kind);
  dense_logits_ = row.with_dense ? logit_operations(config) : 0;
  if (row.with_dense) dense_traffic_ = reference_traffic;
  loss_traffic_ = row.traffic(config.vocab_size);
  embedding_traffic_ = forward_traffic(config.hidden_size, {});
}

double WorkCounter::layers(const Assignment& assignment, std::int64_t tokens) const {
  const Assignment levels = searched_.of_every_module(assignment);
  return modules(levels, 0, levels.size(), tokens).layers;
}

Work WorkCounter::modules(const Assignment& levels, std::size_t from, std::size_t to,
                          std::int64_t tokens) const {
  const std::vector<LayerShape> shapes = space_.shapes(config_, levels);
  const double seen = mean_seen(std::min(tokens, sequence_length_));
  Work work;
  for (std::size_t i = space_.part_begin(from); i < to; ++i) {
    const ModuleId& id = space_.modules[i].id;
    const LayerShape& shape = shapes[static_cast<std::size_t>(id.layer)];
    const bool attends = id.kind == ModuleKind::attention;
    if (id.expert > 0) {  // of a mixture, counted with the first of its experts
      work.streamed += parameter_bytes(i, levels[i]);
      continue;
    }
    work.layers += attends           ? attention_operations(config_, shape.heads(), shape.kv_heads, seen)
                   : shape.mixture() ? mixture_operations(config_, shape)
                                     : ffn_operations(config_, shape.columns);
    if ((attends ? shape.heads() : shape.columns) > 0)
      work.traffic.layers +=
          static_cast<double>(config_.hidden_size) * static_cast<double>(size_of(activations_));
    work.streamed += parameter_bytes(i, levels[i]);
  }
  work.layers *= static_cast<double>(tokens);
  work.streamed *= static_cast<double>((tokens + options_.batch_tokens - 1) / options_.batch_tokens);
  work.traffic = work.traffic.times(static_cast<double>(tokens));
  work.operations = work.layers;
  return work;
}

Work WorkCounter::fitness(const Assignment& base, std::span<const Assignment> candidates,
                          std::int64_t tokens) const {
  Work work;
  if (candidates.empty()) return work;
  std::size_t walked = 0;
  const Assignment walked_along = searched_.of_every_module(base);
  for (const Assignment& candidate : candidates) {
    const Assignment levels = searched_.of_every_module(candidate);
    const std::size_t from = first_difference(walked_along, levels);
    walked = std::max(walked, from);
    work += modules(levels, from, levels.size(), tokens);
  }
  work += modules(walked_along, 0, walked, tokens);
  const auto count = static_cast<double>(candidates.size());
  work.operations += static_cast<double>(tokens) * (dense_logits_ + count * logit_operations(config_));
  work.traffic += comparison(tokens, count);
  return work;
}

Work WorkCounter::tuned_fitness(std::span<const Assignment> candidates, const SelectionStage& stage) const {
  Work work;
  for (const Assignment& candidate : candidates) {
    const Assignment shape = shape_of(candidate);
    Work measured = modules(shape, 0, shape.size(), stage.tokens);
    measured.operations += static_cast<double>(stage.tokens) * (dense_logits_ + logit_operations(config_));
    measured.traffic += comparison(stage.tokens, 1);
    work += measured;
    work += training(candidate, stage.training_tokens);
  }
  return work;
}

Work WorkCounter::training(const Assignment& candidate, std::int64_t tokens) const {
  const Assignment shape = shape_of(candidate);
  const double forward_layers = modules(shape, 0, shape.size(), tokens).layers;
  const auto steps = static_cast<double>((tokens + sequence_length_ - 1) / sequence_length_);
  const std::int64_t parameters = space_.parameters(shape);
  const double passes = options_.tuning.options.recompute ? 4 : 3;
  Work work;
  work.operations = passes * forward_layers + 3 * static_cast<double>(tokens) * logit_operations(config_);
  work.streamed = steps * (passes * static_cast<double>(parameters) * size_of(precision_) +
                           ShardedAdamW::streamed(parameters, 1, precision_));
  const std::vector<LayerShape> shapes = space_.shapes(config_, shape);
  ShardTraffic of_token = forward_traffic(config_.hidden_size, shapes, activations_);
  of_token += backward_traffic(config_.hidden_size, shapes, options_.tuning.options.recompute, activations_,
                               config_.features.post_norms);
  of_token += nll_traffic;
  work.traffic = of_token.times(static_cast<double>(tokens));
  return work;
}

Work WorkCounter::learning(const Assignment& candidate, std::int64_t tokens) const {
  const double forward_layers = layers(candidate, tokens);
  const double passes = 7.0 / 3 + (options_.tuning.options.recompute ? 1 : 0);
  Work work;
  work.operations =
      passes * forward_layers + static_cast<double>(tokens) * (dense_logits_ + 2 * logit_operations(config_));
  const std::vector<LayerShape> shapes = searched_.shapes(config_, candidate);
  ShardTraffic of_token = forward_traffic(config_.hidden_size, shapes, activations_);
  of_token += backward_traffic(config_.hidden_size, shapes, options_.tuning.options.recompute, activations_,
                               config_.features.post_norms);
  work.traffic = of_token.times(static_cast<double>(tokens));
  work.traffic += comparison(tokens, 1);
  return work;
}

double WorkCounter::switched(const Assignment& base, std::span<const Assignment> candidates) const {
  double bytes = 0;
  const Assignment before = searched_.of_every_module(base);
  for (const Assignment& candidate : candidates) {
    const Assignment levels = searched_.of_every_module(candidate);
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (levels[i] != before[i]) bytes += parameter_bytes(i, levels[i]);
    }
  }
  return bytes;
}

/// The embedding of some tokens, the unpruned model's logits and those of so many candidates.
ShardTraffic WorkCounter::comparison(std::int64_t tokens, double candidates) const {
  ShardTraffic traffic = embedding_traffic_;
  traffic += dense_traffic_;
  traffic += loss_traffic_.times(candidates);
  return traffic.times(static_cast<double>(tokens));
}

/// The levels of every module whose shapes a candidate is trained in.
Assignment WorkCounter::shape_of(const Assignment& candidate) const {
  Assignment levels = searched_.of_every_module(candidate);
  if (options_.tuning.unmasked) std::ranges::fill(levels, 0);
  return levels;
}

double WorkCounter::parameter_bytes(std::size_t module, std::int64_t level) const {
  return static_cast<double>(space_.modules[module].parameters[static_cast<std::size_t>(level)]) *
         static_cast<double>(size_of(precision_));
}

}  // namespace galapagos
