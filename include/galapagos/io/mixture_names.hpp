#pragma once

#include <string>
#include <string_view>

#include <galapagos/io/hf_config.hpp>

// Mixtral's checkpoints name what belongs to experts in their own way: block_sparse_moe for mlp, and w1, w3,
// w2 for gate_proj, up_proj, down_proj. They are renamed where checkpoints are read and where unpruned ones
// are written; all else has one set of names.
namespace galapagos {

/// "model.layers.3.mlp.experts.7.gate_proj.weight" of "model.layers.3.block_sparse_moe.experts.7.w1.weight";
/// other names as they are.
std::string usual_expert_name(std::string_view stored);

/// The way back.
std::string mixtral_name(std::string_view usual);
/// The name that files of the model have for a tensor.
inline std::string stored_expert_name(const HfConfig& config, std::string_view usual) {
  return config.mixtral_names ? mixtral_name(usual) : std::string(usual);
}

}  // namespace galapagos
