#pragma once

#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>

// DarwinLM's published models: weights of their own shapes in every layer, and code of their own, which names
// itself modeling_darwinlm. Their config.json and tensors have not been seen; what is taken of them are their
// tensors' shapes.
namespace galapagos {

/// Whether a config.json's model_type or auto_map says that it is one.
bool is_darwinlm(const Json& json);

/// The model_type that such a model is computed as: its own where that is a family's, else by its
/// `architectures`; its own again where they do not tell.
std::string darwinlm_base_type(const Json& json);

/// Gives `config` the shapes that the weights have, and its source the form of a pruned model's. InputError
/// where a tensor has an impossible shape, or query heads are gone and it is not certain which KV heads the
/// others attend with.
void fit_darwinlm_shapes(HfConfig& config, const Checkpoint& checkpoint, std::vector<std::string>& warnings);

}  // namespace galapagos
