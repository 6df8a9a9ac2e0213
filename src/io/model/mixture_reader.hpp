#pragma once

#include "families.hpp"

#include <optional>
#include <string>
#include <vector>

namespace galapagos {

/// What config.json says of a family's mixtures of experts; nothing of other families. InputError where it is
/// malformed.
std::optional<MixtureSettings> read_mixture(const Json& json, const Family& family, const std::string& where);

/// Of each layer, whether it is a mixture in the unpruned model.
std::vector<bool> mixture_layers(const Json& json, const Family& family, std::int64_t layers,
                                 const std::string& where);

}  // namespace galapagos
