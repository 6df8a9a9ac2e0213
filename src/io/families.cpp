#include "families.hpp"

#include <algorithm>
#include <array>

namespace galapagos {
namespace {

constexpr std::array families = std::to_array<Family>({
    {.model_type = "llama",
     .computed_as = "llama",
     .max_position_embeddings = 2048,
     .bos_id = 1,
     .eos_id = 2,
     .attention_bias = true,
     .mlp_bias = true},
    {.model_type = "mistral",
     .computed_as = "llama",
     .max_position_embeddings = 131072,
     .kv_heads = 8,
     .bos_id = 1,
     .eos_id = 2,
     .window_by_key = true,
     .window = 4096},
    {.model_type = "qwen2",
     .computed_as = "qwen2",
     .max_position_embeddings = 32768,
     .kv_heads = 32,
     .features = {.qkv_bias = true}},
    {.model_type = "qwen3",
     .computed_as = "qwen3",
     .max_position_embeddings = 32768,
     .kv_heads = 32,
     .features = {.qk_norm = true},
     .head_dim = 128,
     .attention_bias = true},
    {.model_type = "phi3",
     .computed_as = "phi3",
     .max_position_embeddings = 4096,
     .bos_id = 1,
     .eos_id = 32000,
     .fused = true,
     .rms_norm_eps = 1e-5,
     .window_by_key = true,
     .rope = {.partial = true, .only_longrope = true, .original_positions = 4096}},
});

}  // namespace

const Family* find_family(std::string_view model_type) {
  const auto found = std::ranges::find(families, model_type, &Family::model_type);
  return found == families.end() ? nullptr : &*found;
}

std::string list_families() {
  std::string list;
  for (const Family& family : families) {
    if (!list.empty()) list += ", ";
    list += family.model_type;
  }
  return list;
}

}  // namespace galapagos
