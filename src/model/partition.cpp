#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/model/balanced_spans.hpp>
#include <galapagos/model/partition.hpp>

namespace galapagos {
namespace {

/// Columns are many: each shard's begin where its share of the cost does, at a multiple of 32 where they are
/// many times that.
Range part_of_columns(std::int64_t count, const std::vector<double>& costs, int shard, int shards) {
  constexpr std::int64_t granule = 32, many = 8;
  const auto bound = [&](int before) -> std::int64_t {
    if (before == 0 || before == shards) return before == 0 ? 0 : count;
    std::int64_t at = count * before / shards;
    if (!costs.empty()) {
      const double share = std::accumulate(costs.begin(), costs.end(), 0.0) * before / shards;
      double sum = 0;
      at = 0;
      while (at < count && sum + costs[static_cast<std::size_t>(at)] / 2 < share)
        sum += costs[static_cast<std::size_t>(at++)];
    }
    return count < granule * many * shards ? at : std::min(count, (at + granule / 2) / granule * granule);
  };
  return {bound(shard), bound(shard + 1)};
}

/// KV heads are few: the costliest part is as cheap as it can be.
Range part_of_kv_heads(const std::vector<double>& costs, int shard, int shards) {
  const auto count = static_cast<int>(costs.size());
  if (count == 0) return {};
  const std::vector<Range> spans = balanced_spans(costs, std::min(shards, count));
  if (shard >= static_cast<int>(spans.size())) return {count, count};
  return spans[static_cast<std::size_t>(shard)];
}

Range heads_of(const LayerShape& shape, const Range& kv_heads) {
  const auto at = [&](std::int64_t kv_head) {
    const auto found = std::lower_bound(shape.kv_of_head.begin(), shape.kv_of_head.end(), kv_head);
    return static_cast<std::int64_t>(found - shape.kv_of_head.begin());
  };
  return {at(kv_heads.first), at(kv_heads.last)};
}

}  // namespace

Range part_of_vocabulary(std::int64_t ids, int shard, int shards) {
  return {ids * shard / shards, ids * (shard + 1) / shards};
}

LayerPart whole_layer(const LayerShape& shape) {
  return {{0, shape.kv_heads}, {0, shape.heads()}, {0, shape.columns}, std::ssize(shape.experts)};
}

std::vector<LayerCosts> layer_costs_of(const HfConfig& config) {
  std::vector<LayerCosts> all;
  for (const LayerShape& shape : config.layer_shapes) {
    LayerCosts costs;
    costs.kv_heads.assign(static_cast<std::size_t>(shape.kv_heads), 1.0);
    for (const std::int32_t kv_head : shape.kv_of_head)
      costs.kv_heads[static_cast<std::size_t>(kv_head)] += 1;
    all.push_back(std::move(costs));
  }
  return all;
}

std::vector<Range> parts_of_experts(const LayerShape& shape, const Range& part) {
  std::vector<Range> parts;
  std::int64_t begin = 0;
  for (const std::int64_t columns : shape.experts) {
    const auto within = [&](std::int64_t column) {
      return std::clamp<std::int64_t>(column - begin, 0, columns);
    };
    parts.push_back({within(part.first), within(part.last)});
    begin += columns;
  }
  return parts;
}

LayerShape part_of_layer(const LayerShape& shape, const LayerPart& part) {
  LayerShape own;
  own.kv_heads = part.kv_heads.count();
  own.columns = part.columns.count();
  for (const Range& columns : parts_of_experts(shape, part.columns)) own.experts.push_back(columns.count());
  for (std::int64_t head = part.heads.first; head < part.heads.last; ++head) {
    own.kv_of_head.push_back(shape.kv_of_head[static_cast<std::size_t>(head)] -
                             static_cast<std::int32_t>(part.kv_heads.first));
  }
  return own;
}

ModelPart part_of_model(const HfConfig& config, const std::vector<LayerCosts>& costs, int shard, int shards) {
  if (shards > config.vocab_size) {
    throw UsageError(fmt::format("{} shards of a model with {} ids", shards, config.vocab_size), "--shards",
                     "use fewer");
  }
  ModelPart part{shard, shards, {}, part_of_vocabulary(config.vocab_size, shard, shards), config};
  HfConfig& own = part.config;
  if (shards > 1) own.heads = own.kv_heads = own.intermediate_size = 0;
  if (shards > 1 && own.mixture) own.mixture->expert_size = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerShape& shape = config.shape(layer);
    const LayerCosts& cost = costs[static_cast<std::size_t>(layer)];
    LayerPart piece = whole_layer(shape);
    if (shards > 1) {
      piece.kv_heads = part_of_kv_heads(cost.kv_heads, shard, shards);
      piece.heads = heads_of(shape, piece.kv_heads);
      piece.columns = part_of_columns(shape.columns, cost.columns, shard, shards);
      own.heads = std::max(own.heads, piece.heads.count());
      own.kv_heads = std::max(own.kv_heads, piece.kv_heads.count());
    }
    const LayerShape& part_shape = own.layer_shapes[static_cast<std::size_t>(layer)] =
        part_of_layer(shape, piece);
    if (shards > 1) {
      if (!shape.mixture()) own.intermediate_size = std::max(own.intermediate_size, part_shape.columns);
      for (const std::int64_t columns : part_shape.experts)
        own.mixture->expert_size = std::max(own.mixture->expert_size, columns);
    }
    part.layers.push_back(piece);
  }
  own.vocab_size = part.vocabulary.count();
  return part;
}

}  // namespace galapagos
