#include <fmt/format.h>

#include <galapagos/model/layer_tensors.hpp>
#include <galapagos/pruning/module_id.hpp>

namespace galapagos {

std::string name_of(ModuleKind kind) {
  return kind == ModuleKind::attention ? "attn" : "ffn";
}

std::string name_of(const ModuleId& module) {
  const bool attention = module.kind == ModuleKind::attention;
  if (module.expert == no_expert)
    return layer_tensor_name(module.layer, attention ? "self_attn.o_proj" : "mlp.down_proj");
  return layer_tensor_name(module.layer, fmt::format("mlp.experts.{}.down_proj", module.expert));
}

std::string group_of(const ModuleId& module) {
  const std::string group = fmt::format("/modules/{}/{}", module.layer, name_of(module.kind));
  return module.expert == no_expert ? group : fmt::format("{}/{}", group, module.expert);
}

std::vector<ModuleId> modules_of(const HfConfig& config) {
  std::vector<ModuleId> all;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.shape(layer).heads() > 0) all.push_back({layer, ModuleKind::attention});
    const LayerShape& shape = config.shape(layer);
    for (std::int64_t expert = 0; expert < std::ssize(shape.experts); ++expert)
      all.push_back({layer, ModuleKind::ffn, expert});
    if (!shape.mixture() && shape.columns > 0) all.push_back({layer, ModuleKind::ffn});
  }
  return all;
}

std::vector<ModuleId> parts_of(const HfConfig& config) {
  std::vector<ModuleId> parts;
  for (const ModuleId& module : modules_of(config))
    if (parts.empty() || parts.back() != part_with(module)) parts.push_back(part_with(module));
  return parts;
}

std::int64_t module_columns(const HfConfig& config, const ModuleId& module) {
  const LayerShape& shape = config.shape(module.layer);
  if (module.kind == ModuleKind::attention) return shape.heads() * config.head_dim;
  return module.expert == no_expert ? shape.columns : shape.experts[static_cast<std::size_t>(module.expert)];
}

std::int64_t first_column(const HfConfig& config, const ModuleId& module) {
  std::int64_t first = 0;
  for (std::int64_t expert = 0; expert < module.expert; ++expert)
    first += config.shape(module.layer).experts[static_cast<std::size_t>(expert)];
  return first;
}

}  // namespace galapagos
