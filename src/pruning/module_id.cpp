#include <fmt/format.h>

#include <galapagos/model/layer_tensors.hpp>
#include <galapagos/pruning/module_id.hpp>

namespace galapagos {

std::string name_of(ModuleKind kind) {
  return kind == ModuleKind::attention ? "attn" : "ffn";
}

std::string name_of(const ModuleId& module) {
  const bool attention = module.kind == ModuleKind::attention;
  if (module.expert == ModuleId::no_expert)
    return layer_tensor_name(module.layer, attention ? "self_attn.o_proj" : "mlp.down_proj");
  return layer_tensor_name(module.layer, fmt::format("mlp.experts.{}.down_proj", module.expert));
}

std::string group_of(const ModuleId& module) {
  const std::string group = fmt::format("/modules/{}/{}", module.layer, name_of(module.kind));
  return module.expert == ModuleId::no_expert ? group : fmt::format("{}/{}", group, module.expert);
}

std::vector<ModuleId> modules_of(const HfConfig& config) {
  std::vector<ModuleId> all;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.shape(layer).heads() > 0) all.push_back({layer, ModuleKind::attention});
    if (config.shape(layer).columns > 0) all.push_back({layer, ModuleKind::ffn});
  }
  return all;
}

std::int64_t module_columns(const HfConfig& config, const ModuleId& module) {
  const LayerShape& shape = config.shape(module.layer);
  return module.kind == ModuleKind::attention ? shape.heads() * config.head_dim : shape.columns;
}

}  // namespace galapagos
