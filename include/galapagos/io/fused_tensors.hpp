#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/io/hf_config.hpp>

// Some families store several of a layer's tensors as one, the rows of one below those of the other. They are
// split where checkpoints are read and put together where unpruned ones are written; all else has the parts.
namespace galapagos {

/// Names behind "model.layers.3.".
struct FusedTensor {
  const char* name;
  std::array<const char*, 3> names;  ///< of the parts, from the first row on
  std::size_t count = 0;

  std::span<const char* const> parts() const { return std::span(names).first(count); }
};

inline constexpr std::array fused_tensors = {
    FusedTensor{"self_attn.qkv_proj.weight",
                {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"},
                3},
    FusedTensor{"mlp.gate_up_proj.weight", {"mlp.gate_proj.weight", "mlp.up_proj.weight"}, 2},
};

/// The rows of each part in an unpruned model.
inline std::vector<std::int64_t> rows_of_parts(const FusedTensor& fused, const HfConfig& config) {
  if (&fused != &fused_tensors.front()) return std::vector(fused.count, config.intermediate_size);
  const std::int64_t kv = config.kv_heads * config.head_dim;
  return {config.heads * config.head_dim, kv, kv};
}

}  // namespace galapagos
