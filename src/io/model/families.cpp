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
     .windows = WindowRule::everywhere,
     .typed = true,  // transformers takes it for a Ministral then
     .window = 4096},
    {.model_type = "ministral",
     .computed_as = "llama",
     .max_position_embeddings = 131072,
     .kv_heads = 8,
     .bos_id = 1,
     .eos_id = 2,
     .windows = WindowRule::everywhere,
     .typed = true,
     .window = 4096},
    {.model_type = "ministral3",
     .computed_as = "llama",
     .max_position_embeddings = 262144,
     .kv_heads = 8,
     .bos_id = 1,
     .eos_id = 2,
     .head_dim = 128,
     .rms_norm_eps = 1e-5,
     .windows = WindowRule::everywhere,
     .scaled_queries = true},
    {.model_type = "qwen2",
     .computed_as = "qwen2",
     .max_position_embeddings = 32768,
     .kv_heads = 32,
     .features = {.qkv_bias = true},
     .windows = WindowRule::on_demand,
     .typed = true,
     .window = 4096},
    {.model_type = "qwen3",
     .computed_as = "qwen3",
     .max_position_embeddings = 32768,
     .kv_heads = 32,
     .features = {.qk_norm = true},
     .head_dim = 128,
     .attention_bias = true,
     .windows = WindowRule::on_demand,
     .typed = true,
     .window = 4096},
    {.model_type = "smollm3",
     .computed_as = "smollm3",
     .max_position_embeddings = 32768,
     .kv_heads = 4,
     .bos_id = 128000,
     .eos_id = 128001,
     .attention_bias = true,
     .mlp_bias = true,
     .tied = true,
     .windows = WindowRule::without_rope,
     .typed = true,
     .layers_without_rope = true,
     .rope = {.theta = 2e6}},
    {.model_type = "gemma",
     .computed_as = "gemma",
     .max_position_embeddings = 8192,
     .kv_heads = 16,
     .bos_id = 2,
     .eos_id = 1,
     .features = {.shifted_norms = true, .gelu = true, .scaled_embedding = true},
     .head_dim = 256,
     .attention_bias = true,
     .tied = true},
    {.model_type = "gemma2",
     .computed_as = "gemma2",
     .max_position_embeddings = 8192,
     .kv_heads = 4,
     .bos_id = 2,
     .eos_id = 1,
     .features = {.post_norms = true, .shifted_norms = true, .gelu = true, .scaled_embedding = true},
     .head_dim = 256,
     .attention_bias = true,
     .tied = true,
     .windows = WindowRule::pattern,
     .typed = true,
     .window = 4096,
     .window_pattern = 2,
     .score_scalar = 256,
     .attention_cap = 50,
     .logit_cap = 30},
    {.model_type = "gemma3_text",
     .computed_as = "gemma3",
     .max_position_embeddings = 131072,
     .kv_heads = 4,
     .bos_id = 2,
     .eos_id = 1,
     .features =
         {.qk_norm = true, .post_norms = true, .shifted_norms = true, .gelu = true, .scaled_embedding = true},
     .head_dim = 256,
     .attention_bias = true,
     .tied = true,
     .windows = WindowRule::pattern,
     .typed = true,
     .window = 4096,
     .window_pattern = 6,
     .local_rope = true,
     .score_scalar = 256,
     .logit_cap = 0,
     .rope = {.theta = 1e6}},
    {.model_type = "olmo2",
     .computed_as = "olmo2",
     .refused = "its q/k norm spans all heads, so that to remove one changes what is left of the others"},
    {.model_type = "phi3",
     .computed_as = "phi3",
     .max_position_embeddings = 4096,
     .bos_id = 1,
     .eos_id = 32000,
     .fused = true,
     .rms_norm_eps = 1e-5,
     .windows = WindowRule::everywhere,
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
    if (!family.refused.empty()) continue;
    if (!list.empty()) list += ", ";
    list += family.model_type;
  }
  return list + ", or the text in a mistral3 or gemma3";
}

}  // namespace galapagos
