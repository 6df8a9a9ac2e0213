#include "dealing.hpp"
#include "gradient_start.hpp"

#include <algorithm>

#include <galapagos/model/stage.hpp>
#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/search/footprint.hpp>
#include <galapagos/search/relaxed_model.hpp>
#include <galapagos/search/token_blocks.hpp>

namespace galapagos {
namespace {

/// A replica, room for its batches and comparisons, and `modules` bytes of built ones.
std::uint64_t replica_bytes(const SearchFootprint& footprint, std::uint64_t modules) {
  return footprint.dense + footprint.activations + footprint.states + footprint.logits + footprint.training +
         modules;
}

/// Parameters of zeros that a built module has beside those of its level.
std::int64_t padding(const ModuleChoices& module, std::size_t level, const HfConfig& config) {
  const std::int64_t kept = module.kept.count(level);
  if (module.id.kind == ModuleKind::attention || kept == 0) return 0;
  const std::int64_t padded = padded_columns(kept, module_columns(config, module.id));
  if (module.id.expert != no_expert)
    return expert_parameters(config, padded) - expert_parameters(config, kept);
  return ffn_parameters(config, padded) - ffn_parameters(config, kept);
}

/// The most of it that a candidate can have.
std::int64_t most_padding(const SearchSpace& space, const HfConfig& config) {
  std::int64_t sum = 0;
  for (const ModuleChoices& module : space.modules) {
    std::int64_t most = 0;
    for (std::size_t level = 0; level < module.kept.size(); ++level)
      most = std::max(most, padding(module, level, config));
    sum += most;
  }
  return sum;
}

/// A shard's part of a model at levels between levels, which have the columns of the level below: by the
/// greatest share that o_proj and down_proj have of any module.
RelaxedModel::Sizes relaxed_sizes(const SearchSpace& whole, const SearchSpace& space, const HfConfig& config,
                                  std::int64_t most_parameters) {
  const auto all = static_cast<double>(whole.fixed_parameters + whole.dense_parameters());
  const double part = static_cast<double>(space.fixed_parameters + space.dense_parameters()) / all;
  RelaxedModel::Sizes sizes;
  sizes.parameters =
      static_cast<std::int64_t>(part * static_cast<double>(most_parameters)) + most_padding(space, config);
  double share = 0;
  for (const ModuleChoices& module : space.modules) {
    std::int64_t step = 0;
    for (std::size_t level = 0; level < module.parameters.size(); ++level) {
      const std::int64_t output = module.kept.count(level) * config.hidden_size;
      sizes.widest = std::max(sizes.widest, output);
      if (module.parameters[level] > 0)
        share = std::max(share, static_cast<double>(output) / static_cast<double>(module.parameters[level]));
      if (level > 0) step = std::max(step, module.parameters[level - 1] - module.parameters[level]);
    }
    sizes.parameters += step;
  }
  sizes.outputs = static_cast<std::int64_t>(share * static_cast<double>(sizes.parameters));
  return sizes;
}

}  // namespace

SearchFootprint search_footprint(const SearchSpace& whole, const SpacePart& part,
                                 const EvolutionOptions& evolution, const Fitness& fitness,
                                 const FineTuning& tuning, const SearchExtent& extent) {
  const SearchSpace& space = part.space;
  const HfConfig& config = part.model.config;
  const auto word = static_cast<std::uint64_t>(size_of(extent.precision));
  const int replicas = extent.replicas;
  const auto first = static_cast<std::size_t>(whole.first_stored);
  SearchFootprint footprint;
  for (const ModuleChoices& module : space.modules) {
    for (std::size_t level = first; level < module.kept.size(); ++level) {
      footprint.built +=
          static_cast<std::uint64_t>(module.parameters[level] + padding(module, level, config)) * word;
    }
  }
  for (const ModuleChoices& module : whole.modules) {  // a node has one copy of all
    for (std::size_t level = first; level < module.kept.size(); ++level) {
      footprint.stored +=
          static_cast<std::uint64_t>(module.kept.count(level) * config.hidden_size) * size_of(extent.stored);
    }
  }
  footprint.cached = static_cast<std::uint64_t>(space.dense_parameters()) * word;
  footprint.dense = footprint.cached + static_cast<std::uint64_t>(space.fixed_parameters) * word;
  if (config.tie_word_embeddings) {  // the head is a copy of the embedding
    footprint.dense += static_cast<std::uint64_t>(embedding_parameters(config)) * word;
  }
  footprint.activations =
      activation_bytes(config, std::max(extent.batch_tokens, extent.longest), extent.activations(), 1);
  const auto note = [&](std::int64_t tokens, std::int64_t candidates) {
    const FitnessMeter::Bytes bytes = FitnessMeter::bytes(
        config, fitness.kind, tokens, candidates, part.model.shards, extent.device, extent.activations());
    footprint.states = std::max(footprint.states, bytes.states);
    footprint.logits = std::max(footprint.logits, bytes.logits);
  };
  const int group = Dealing::smallest_group(replicas, evolution.islands);
  std::int64_t candidates = evolution.offspring;
  for (const SelectionStage& stage : evolution.stages) {
    if (&stage == &evolution.stages.back()) ++candidates;  // the parent
    note(stage.tokens, chunk_size(candidates, group));
    candidates = stage.survivors;
  }
  if (extent.evaluates) note(std::max(extent.batch_tokens, extent.longest), 1);
  const bool learns = evolution.start.kind == StartKind::gradient;
  // What was learned is compared with what it began at.
  std::int64_t compared = std::max<std::int64_t>(evolution.islands, learns ? 2 : 1);
  if (evolution.strategy == StrategyKind::racing)
    compared = 2 * evolution.islands + extent.asked;  // and starts, of a front all
  note(evolution.compare_tokens, (compared + replicas - 1) / replicas);
  if (trains(evolution)) {
    const std::int64_t all = space.fixed_parameters + space.dense_parameters();
    // A shard has about the share of a candidate that it has of the whole.
    const double share =
        static_cast<double>(all) / static_cast<double>(whole.fixed_parameters + whole.dense_parameters());
    const std::int64_t pruned =
        part.model.shards == 1
            ? extent.most_parameters
            : static_cast<std::int64_t>(share * static_cast<double>(extent.most_parameters));
    const std::int64_t parameters = tuning.unmasked ? all : pruned + most_padding(space, config);
    footprint.training = static_cast<std::uint64_t>(parameters) * word +
                         fine_tune_bytes(config, parameters, extent.longest, tuning.options.recompute,
                                         extent.device, extent.activations());
  }
  if (learns) {
    const std::uint64_t learning =
        RelaxedModel::bytes(config, relaxed_sizes(whole, space, config, extent.most_parameters),
                            extent.precision, std::max(piece_tokens, extent.longest),
                            tuning.options.recompute, fitness, extent.device, extent.activations());
    footprint.training = std::max(footprint.training, learning);
  }
  return footprint;
}

std::uint64_t replica_limit(const NodeRoom& room, std::uint64_t answers) {
  if (room.host) return room.rank;
  const std::uint64_t share = answers / static_cast<std::uint64_t>(room.ranks);
  return room.rank > share ? room.rank - share : 0;
}

bool fits_device(const SearchFootprint& footprint, std::uint64_t limit) {
  return replica_bytes(footprint, footprint.built) <= limit;
}

bool fits_host(const SearchFootprint& footprint, std::uint64_t answers, const NodeRoom& room) {
  const std::uint64_t replica = replica_bytes(footprint, footprint.cached);
  const std::uint64_t limit = replica_limit(room, answers);
  if (room.host) return replica <= limit && footprint.stored + answers <= *room.host;
  const auto count = static_cast<std::uint64_t>(room.ranks);
  return replica * count + footprint.stored <= limit * count;
}

std::uint64_t cache_limit(const SearchFootprint& footprint, LevelHome home, std::uint64_t limit) {
  if (home == LevelHome::device) return UINT64_MAX;
  const std::uint64_t rest = replica_bytes(footprint, 0);
  return std::min(footprint.cached, limit > rest ? limit - rest : 0);
}

std::uint64_t kept_logits_limit(const SearchFootprint& footprint, std::uint64_t modules,
                                std::uint64_t limit) {
  const std::uint64_t taken = replica_bytes(footprint, std::min(modules, footprint.built));
  return limit > taken ? (limit - taken) / 2 : 0;
}

std::int64_t compare_tokens(const EvolutionOptions& evolution, std::int64_t pool_tokens) {
  constexpr std::int64_t more_than_last_stage = 8;
  if (evolution.strategy == StrategyKind::racing) {
    const RacingOptions& racing = evolution.racing;
    const std::int64_t held_back = blocks_held_back(pool_tokens / racing.tokens, racing.held_back);
    if (held_back > 0) return held_back * racing.tokens;
  }
  if (evolution.compare_tokens > 0) return evolution.compare_tokens;
  return std::min(pool_tokens, more_than_last_stage * evolution.stages.back().tokens);
}

}  // namespace galapagos
