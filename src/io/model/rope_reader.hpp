#pragma once

#include "families.hpp"

#include <optional>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// The rope settings of a config.json as transformers 5 takes them from its keys, whatever release has
/// written them. `config` has all sizes. Adds to `warnings` what was chosen where keys contradict each other;
/// InputError (naming `where`) for kinds that are not supported and for values out of range.
RopeSettings read_rope(const Json& json, const Family& family, const HfConfig& config,
                       const std::string& where, std::vector<std::string>& warnings);

struct LayerRopes {
  RopeSettings usual;
  std::optional<RopeSettings> local;  ///< where the family has such layers
};
LayerRopes read_layer_ropes(const Json& json, const Family& family, const HfConfig& config,
                            const std::string& where, std::vector<std::string>& warnings);

}  // namespace galapagos
