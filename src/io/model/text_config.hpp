#pragma once

#include <string>
#include <string_view>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// The config.json of the text model inside a model of text and images (Mistral 3, Gemma 3), complete by
/// itself; any other as it is. InputError (naming `where`) where there is none inside.
Json text_config_of(const Json& json, const std::string& where);

/// The name that a tensor of such a model has in its text model, "language_model.model.norm.weight" being
/// "model.norm.weight"; any other name as it is. Empty for tensors of images.
std::string text_name_of(std::string_view name);

}  // namespace galapagos
