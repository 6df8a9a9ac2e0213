#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// What is pruned of a layer: the input of o_proj or that of down_proj.
enum class ModuleKind : std::uint8_t { attention, ffn };

/// "attn" or "ffn", as in the database.
std::string name_of(ModuleKind kind);

/// A module of a model.
struct ModuleId {
  static constexpr std::int64_t no_expert = -1;

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

/// All modules that there are, layer by layer, attention first.
std::vector<ModuleId> modules_of(const HfConfig& config);

/// Input columns of a module of the model as it is.
std::int64_t module_columns(const HfConfig& config, const ModuleId& module);

}  // namespace galapagos
