#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/layer_tensors.hpp>

namespace galapagos {

/// What is pruned of a layer: the input of o_proj or that of down_proj.
enum class ModuleKind : std::uint8_t { attention, ffn };

/// "attn" or "ffn", as in the database.
std::string name_of(ModuleKind kind);

/// A module of a model.
struct ModuleId {
  std::int64_t layer = 0;
  ModuleKind kind = ModuleKind::attention;
  std::int64_t expert = no_expert;  ///< of a mixture, whose feed-forward parts are modules of their own

  bool operator==(const ModuleId&) const = default;
  auto operator<=>(const ModuleId&) const = default;
};

/// "model.layers.3.mlp.down_proj", or "model.layers.3.mlp.experts.7.down_proj".
std::string name_of(const ModuleId& module);

/// Where a file of modules has one: "/modules/3/ffn", or "/modules/3/ffn/7".
std::string group_of(const ModuleId& module);

/// All modules that there are, layer by layer, attention first, and in mixtures expert by expert.
std::vector<ModuleId> modules_of(const HfConfig& config);
/// All parts of layers: the same with one feed-forward part in a mixture.
std::vector<ModuleId> parts_of(const HfConfig& config);
/// The part of a layer that a module belongs to.
inline ModuleId part_with(const ModuleId& module) {
  return {module.layer, module.kind};
}

/// Input columns of a module of the model as it is, and the number of the first among those of its part.
std::int64_t module_columns(const HfConfig& config, const ModuleId& module);
std::int64_t first_column(const HfConfig& config, const ModuleId& module);

}  // namespace galapagos
