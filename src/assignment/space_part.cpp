#include <algorithm>

#include <galapagos/assignment/space_part.hpp>
#include <galapagos/model/weights.hpp>

namespace galapagos {
namespace {

/// Adds what one level of a module keeps.
void add_costs(const ModuleId& id, const std::vector<std::int64_t>& kept, const HfConfig& config,
               std::vector<LayerCosts>& costs) {
  LayerCosts& layer = costs[static_cast<std::size_t>(id.layer)];
  if (id.kind == ModuleKind::ffn) {
    const std::int64_t first = first_column(config, id);
    for (const std::int64_t column : kept) layer.columns[static_cast<std::size_t>(first + column)] += 1;
    return;
  }
  const std::vector<std::int32_t>& kv_of_head = config.shape(id.layer).kv_of_head;
  std::int32_t before = -1;
  for (std::size_t i = 0; i < kept.size(); i += static_cast<std::size_t>(config.head_dim)) {
    const std::int32_t kv_head = kv_of_head[static_cast<std::size_t>(kept[i] / config.head_dim)];
    layer.kv_heads[static_cast<std::size_t>(kv_head)] += kv_head == before ? 1 : 2;
    before = kv_head;
  }
}

std::vector<LayerCosts> no_costs(const HfConfig& config) {
  std::vector<LayerCosts> costs(static_cast<std::size_t>(config.layers));
  for (std::size_t layer = 0; layer < costs.size(); ++layer) {
    const LayerShape& shape = config.layer_shapes[layer];
    costs[layer].kv_heads.assign(static_cast<std::size_t>(shape.kv_heads), 1e-3);
    costs[layer].columns.assign(static_cast<std::size_t>(shape.columns), 1e-3);
  }
  return costs;
}

}  // namespace

std::vector<LayerCosts> costs_of_space(const SearchSpace& space, const HfConfig& config) {
  std::vector<LayerCosts> costs = no_costs(config);
  for (const ModuleChoices& module : space.modules) {
    for (std::size_t level = 0; level < module.kept.size(); ++level)
      add_costs(module.id, module.kept[level], config, costs);
  }
  return costs;
}

std::vector<LayerCosts> costs_of_assignment(const SearchSpace& space, const HfConfig& config,
                                            const Assignment& assignment) {
  std::vector<LayerCosts> costs = no_costs(config);
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const ModuleChoices& module = space.modules[i];
    add_costs(module.id, module.kept[static_cast<std::size_t>(assignment[i])], config, costs);
  }
  return costs;
}

namespace {

/// What a part of a layer has of a module's columns.
Range columns_of(const HfConfig& config, const ModuleId& module, const LayerPart& part) {
  if (module.kind == ModuleKind::attention)
    return {part.heads.first * config.head_dim, part.heads.last * config.head_dim};
  if (module.expert == no_expert) return part.columns;
  return parts_of_experts(config.shape(module.layer), part.columns)[static_cast<std::size_t>(module.expert)];
}

}  // namespace

SpacePart part_of_space(const SearchSpace& space, const HfConfig& config,
                        const std::vector<LayerCosts>& costs, int shard, int shards) {
  SpacePart part{part_of_model(config, costs, shard, shards), space, {}};
  part.space.fixed_parameters = fixed_parameters(part.model.config);
  for (ModuleChoices& module : part.space.modules) {
    const LayerPart& layer = part.model.layers[static_cast<std::size_t>(module.id.layer)];
    const Range columns = columns_of(config, module.id, layer);
    std::vector<std::int64_t>& before = part.first_kept.emplace_back();
    if (columns.first == 0 && columns.last == module_columns(config, module.id)) {
      before.assign(module.kept.size(), 0);
      continue;
    }
    KeptColumns of_part;
    for (std::size_t level = 0; level < module.kept.size(); ++level) {
      const std::vector<std::int64_t> kept = module.kept[level];
      const auto first = std::lower_bound(kept.begin(), kept.end(), columns.first);
      const auto last = std::lower_bound(first, kept.end(), columns.last);
      before.push_back(first - kept.begin());
      std::vector<std::int64_t> own(first, last);
      for (std::int64_t& column : own) column -= columns.first;
      of_part.push_back(own);
      module.parameters[level] = parameters_of_module(part.model.config, module.id, own);
    }
    module.kept = std::move(of_part);
  }
  return part;
}

HfConfig config_of(const SpacePart& part, const Assignment& assignment) {
  HfConfig config = part.model.config;
  config.layer_shapes = part.space.shapes(config, assignment);
  return config;
}

}  // namespace galapagos
