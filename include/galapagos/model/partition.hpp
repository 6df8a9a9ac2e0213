#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/range.hpp>

namespace galapagos {

/// What a shard holds of a layer: whole KV heads with their query heads, and feed-forward columns, in a
/// mixture of those of all experts one after the other; the router is held by all shards.
struct LayerPart {
  Range kv_heads, heads, columns;
  std::int64_t experts = 0;  ///< of the whole layer

  bool operator==(const LayerPart&) const = default;
};

/// All of a layer.
LayerPart whole_layer(const LayerShape& shape);

/// What one of several shards holds of a model that they compute together (tensor parallelism, Shoeybi et al.
/// 2019): of q, k, v, gate and up rows, of o and down columns, of embedding and head rows; norms are held by
/// all.
struct ModelPart {
  int shard = 0;
  int shards = 1;
  std::vector<LayerPart> layers;
  Range vocabulary;
  /// The model as the shard's tensors look: shapes, greatest widths and the vocabulary are the part's.
  HfConfig config;
};

/// Ids [first, last) of one of `shards` parts of a vocabulary.
Range part_of_vocabulary(std::int64_t ids, int shard, int shards);

/// What keeping a KV head (with its query heads) or a column costs, for dealing them evenly.
struct LayerCosts {
  std::vector<double> kv_heads;
  std::vector<double> columns;  ///< may be empty where all cost the same
};

/// The model's own: a KV head costs as many as it has query heads, and one.
std::vector<LayerCosts> layer_costs_of(const HfConfig& config);

/// One of `shards` parts with about the same cost in every layer; some may have no heads or no columns.
/// UsageError where there are more shards than words in the vocabulary.
ModelPart part_of_model(const HfConfig& config, const std::vector<LayerCosts>& costs, int shard, int shards);
inline ModelPart part_of_model(const HfConfig& config, int shard, int shards) {
  return part_of_model(config, layer_costs_of(config), shard, shards);
}

/// The columns of each expert of a layer that are among columns `part` of all of them.
std::vector<Range> parts_of_experts(const LayerShape& shape, const Range& part);

/// The shape of what a part has of a layer of this shape; of an expert it may be nothing.
LayerShape part_of_layer(const LayerShape& shape, const LayerPart& part);

}  // namespace galapagos
