#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/export/exporter.hpp>
#include <galapagos/io/hf_config.hpp>

// Engines pair query head h with KV head h / (heads / KV heads), and some want more of a layer to be alike
// than pruning leaves. What is missing is filled up with zeros, which add nothing to what a layer puts out,
// and KV heads may be there several times: the model stays the same function.
namespace galapagos {

/// A layer as an engine wants it, made of a pruned one.
struct LayerFit {
  /// Of each head the pruned layer's that it is; none: zeros.
  static constexpr std::int32_t none = -1;
  std::vector<std::int32_t> heads, kv_heads;
  std::int64_t columns = 0;  ///< the pruned layer's own, and zeros behind them; of a mixture those of all
  /// Columns of each expert of a mixture, likewise; experts behind the pruned layer's are zeros. None: the
  /// layer is dense, and may have been a mixture of one expert.
  std::vector<std::int64_t> experts = {};

  std::int64_t head_count() const { return std::ssize(heads); }
  std::int64_t kv_count() const { return std::ssize(kv_heads); }
  /// With every run of head_count() / kv_count() query heads on a KV head.
  LayerShape shape() const;
};

std::vector<LayerShape> shapes_of(std::span<const LayerFit> fits);

/// The layer in groups of `size` query heads: each KV head with as many groups as its query heads take, the
/// last filled up with zeros.
LayerFit in_groups(const LayerShape& layer, std::int64_t size);

/// How many groups of `size` that makes.
std::int64_t groups_of(const LayerShape& layer, std::int64_t size);

/// The size of groups with the fewest query and KV heads together, that is the fewest weights, of all layers
/// where all have as many groups as the one that takes most; the larger of two, which has the smaller KV
/// cache.
std::int64_t cheapest_group(std::span<const LayerShape> layers);

/// Adds groups of zeros until there are so many KV heads, each with `size` query heads.
void fill_groups(LayerFit& fit, std::int64_t size, std::int64_t kv_heads);

/// Every layer in the shape that the unpruned model had: its KV heads are the first of those, each with its
/// query heads.
std::vector<LayerFit> unpruned_shapes(const HfConfig& config);

/// The tensors of a model under fits of its layers; of a part that the pruned layer lacks, zeros. The model
/// must outlive them.
std::vector<ExportedTensor> fitted(const ExportedModel& model, std::span<const LayerFit> fits);

}  // namespace galapagos
