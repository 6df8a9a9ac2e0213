#include <fmt/format.h>

#include <galapagos/model/parameter_slices.hpp>

namespace galapagos {

bool held_by_all(const std::string& name) {
  return name.ends_with("norm.weight");
}

Shape ParameterSlice::shape() const {
  Shape own = whole;
  if (slicing != Slicing::none) own[slicing == Slicing::rows ? 0 : 1] = range.count();
  return own;
}

std::vector<ParameterSlice> parameter_slices(const HfConfig& whole, const ModelPart& part) {
  std::vector<ParameterSlice> slices;
  const std::int64_t hidden = whole.hidden_size, head_dim = whole.head_dim;
  const auto rows = [&](std::string name, Shape shape, const Range& range) {
    slices.push_back({std::move(name), shape, Slicing::rows, range});
  };
  const auto columns = [&](std::string name, Shape shape, const Range& range) {
    slices.push_back({std::move(name), shape, Slicing::columns, range});
  };
  const auto norm = [&](std::string name) {
    slices.push_back({std::move(name), {hidden}, Slicing::none, {0, hidden}});
  };
  rows("model.embed_tokens.weight", {whole.vocab_size, hidden}, part.vocabulary);
  for (std::int64_t layer = 0; layer < whole.layers; ++layer) {
    const LayerShape& shape = whole.shape(layer);
    const LayerPart& own = part.layers[static_cast<std::size_t>(layer)];
    const auto name = [&](const char* of) { return fmt::format("model.layers.{}.{}", layer, of); };
    if (shape.heads() > 0) {
      const std::int64_t q_width = shape.heads() * head_dim, kv_width = shape.kv_heads * head_dim;
      const Range q = {own.heads.first * head_dim, own.heads.last * head_dim};
      const Range kv = {own.kv_heads.first * head_dim, own.kv_heads.last * head_dim};
      norm(name("input_layernorm.weight"));
      rows(name("self_attn.q_proj.weight"), {q_width, hidden}, q);
      if (whole.qkv_bias) rows(name("self_attn.q_proj.bias"), {q_width}, q);
      rows(name("self_attn.k_proj.weight"), {kv_width, hidden}, kv);
      if (whole.qkv_bias) rows(name("self_attn.k_proj.bias"), {kv_width}, kv);
      rows(name("self_attn.v_proj.weight"), {kv_width, hidden}, kv);
      if (whole.qkv_bias) rows(name("self_attn.v_proj.bias"), {kv_width}, kv);
      columns(name("self_attn.o_proj.weight"), {hidden, q_width}, q);
    }
    if (shape.columns > 0) {
      norm(name("post_attention_layernorm.weight"));
      rows(name("mlp.gate_proj.weight"), {shape.columns, hidden}, own.columns);
      rows(name("mlp.up_proj.weight"), {shape.columns, hidden}, own.columns);
      columns(name("mlp.down_proj.weight"), {hidden, shape.columns}, own.columns);
    }
  }
  norm("model.norm.weight");
  if (!whole.tie_word_embeddings) rows("lm_head.weight", {whole.vocab_size, hidden}, part.vocabulary);
  return slices;
}

}  // namespace galapagos
