#include <fmt/format.h>

#include <galapagos/model/model_weights.hpp>

namespace galapagos {
namespace {

/// Calls visit(name, tensor, place of its gradient) for every parameter of a layer.
template <typename Visit>
void visit_layer(const LayerWeights& layer, LayerGradients& gradients, const Visit& visit) {
  const AttentionWeights& attention = layer.attention;
  const FfnWeights& ffn = layer.ffn;
  visit("input_layernorm.weight", attention.norm, gradients.attention_norm);
  visit("self_attn.q_proj.weight", attention.q, gradients.q);
  visit("self_attn.q_proj.bias", attention.q_bias, gradients.q_bias);
  visit("self_attn.k_proj.weight", attention.k, gradients.k);
  visit("self_attn.k_proj.bias", attention.k_bias, gradients.k_bias);
  visit("self_attn.v_proj.weight", attention.v, gradients.v);
  visit("self_attn.v_proj.bias", attention.v_bias, gradients.v_bias);
  visit("self_attn.o_proj.weight", attention.o, gradients.o);
  visit("post_attention_layernorm.weight", ffn.norm, gradients.ffn_norm);
  visit("mlp.gate_proj.weight", ffn.gate, gradients.gate);
  visit("mlp.up_proj.weight", ffn.up, gradients.up);
  visit("mlp.down_proj.weight", ffn.down, gradients.down);
}

}  // namespace

ModelWeights load_model_weights(const ModelSource& source) {
  ModelWeights weights;
  for (std::int64_t layer = 0; layer < source.config.layers; ++layer)
    weights.layers.push_back(source.layer(layer));
  weights.embedding = source.embedding();
  HeadWeights head = source.head();
  weights.norm = std::move(head.norm);
  if (!source.config.tie_word_embeddings) weights.head = std::move(head.head);
  return weights;
}

std::vector<NamedTensor> parameters_of(const ModelWeights& weights) {
  std::vector<NamedTensor> parameters;
  const auto add = [&](std::string name, const OwnedTensor& tensor) {
    if (!tensor->empty()) parameters.push_back({std::move(name), tensor});
  };
  add("model.embed_tokens.weight", weights.embedding);
  LayerGradients unused;
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    visit_layer(weights.layers[layer], unused, [&](const char* part, const OwnedTensor& tensor, Tensor&) {
      add(fmt::format("model.layers.{}.{}", layer, part), tensor);
    });
  }
  add("model.norm.weight", weights.norm);
  add("lm_head.weight", weights.head);
  return parameters;
}

Gradients::Gradients(const ModelWeights& weights, Device device) {
  std::int64_t count = 0;
  for (const NamedTensor& parameter : parameters_of(weights)) count += parameter.tensor.elements();
  all_ = OwnedTensor({count}, DType::f32, device, "gradients");
  fill_zero(all_);
  std::int64_t used = 0;
  const auto place = [&](const OwnedTensor& tensor, Tensor& gradient) {
    if (tensor->empty()) return;
    gradient = all_->slice(used, tensor->elements()).view(tensor->shape);
    used += tensor->elements();
  };
  place(weights.embedding, embedding_);
  layers_.resize(weights.layers.size());
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    visit_layer(weights.layers[layer], layers_[layer],
                [&](const char*, const OwnedTensor& tensor, Tensor& gradient) { place(tensor, gradient); });
  }
  place(weights.norm, norm_);
  place(weights.head, head_);
}

}  // namespace galapagos
