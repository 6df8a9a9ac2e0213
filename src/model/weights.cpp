#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, DType precision, Device device)
      : checkpoint_(checkpoint), precision_(precision), device_(device) {}

  OwnedTensor matrix(const std::string& name, std::int64_t rows, std::int64_t columns) const {
    OwnedTensor host({rows, columns}, precision_, Device::cpu, name);
    checkpoint_.read_rows(name, {rows, columns}, 0, rows, precision_, {host->data, host->bytes()});
    return checked(std::move(host), name);
  }

  /// Norms and biases stay in fp32: they are small and everything passes through them.
  OwnedTensor vector(const std::string& name, std::int64_t length) const {
    const std::vector<float> values = checkpoint_.read_float(name, {length});
    OwnedTensor host({length}, DType::f32, Device::cpu, name);
    convert_from_float(values, DType::f32, host->data);
    return checked(std::move(host), name);
  }

 private:
  OwnedTensor checked(OwnedTensor host, const std::string& name) const {
    if (!ops::all_finite(ops::Context(Device::cpu), host)) {
      throw InputError("tensor '" + name + "' holds NaN or infinity", checkpoint_.folder().string(),
                       "repair or replace the checkpoint");
    }
    if (device_ == Device::cpu) return host;
    OwnedTensor moved(host->shape, host->dtype, device_, name);
    copy_bytes(moved->data, device_, host->data, Device::cpu, host->bytes());
    return moved;
  }

  const Checkpoint& checkpoint_;
  DType precision_;
  Device device_;
};

std::string layer_name(std::int64_t layer, const char* part) {
  return fmt::format("model.layers.{}.{}", layer, part);
}

}  // namespace

LayerShape dense_layer_shape(const HfConfig& config) {
  LayerShape shape;
  shape.kv_heads = config.kv_heads;
  shape.columns = config.intermediate_size;
  for (std::int64_t head = 0; head < config.heads; ++head) {
    shape.kv_of_head.push_back(static_cast<std::int32_t>(head / (config.heads / config.kv_heads)));
  }
  return shape;
}

std::string attention_output_name(std::int64_t layer) {
  return layer_name(layer, "self_attn.o_proj");
}
std::string ffn_output_name(std::int64_t layer) {
  return layer_name(layer, "mlp.down_proj");
}

LayerWeights load_layer(const Checkpoint& checkpoint, const HfConfig& config, std::int64_t layer,
                        DType precision, Device device) {
  const Loader load(checkpoint, precision, device);
  LayerWeights weights;
  weights.shape = dense_layer_shape(config);
  const std::int64_t hidden = config.hidden_size, q_width = weights.shape.heads() * config.head_dim;
  const std::int64_t kv_width = weights.shape.kv_heads * config.head_dim, columns = weights.shape.columns;
  const auto name = [&](const char* part) { return layer_name(layer, part); };
  weights.attention_norm = load.vector(name("input_layernorm.weight"), hidden);
  weights.q = load.matrix(name("self_attn.q_proj.weight"), q_width, hidden);
  weights.k = load.matrix(name("self_attn.k_proj.weight"), kv_width, hidden);
  weights.v = load.matrix(name("self_attn.v_proj.weight"), kv_width, hidden);
  weights.o = load.matrix(name("self_attn.o_proj.weight"), hidden, q_width);
  if (config.qkv_bias) {
    weights.q_bias = load.vector(name("self_attn.q_proj.bias"), q_width);
    weights.k_bias = load.vector(name("self_attn.k_proj.bias"), kv_width);
    weights.v_bias = load.vector(name("self_attn.v_proj.bias"), kv_width);
  }
  weights.ffn_norm = load.vector(name("post_attention_layernorm.weight"), hidden);
  weights.gate = load.matrix(name("mlp.gate_proj.weight"), columns, hidden);
  weights.up = load.matrix(name("mlp.up_proj.weight"), columns, hidden);
  weights.down = load.matrix(name("mlp.down_proj.weight"), hidden, columns);
  return weights;
}

OwnedTensor load_embedding(const Checkpoint& checkpoint, const HfConfig& config, DType precision,
                           Device device) {
  return Loader(checkpoint, precision, device)
      .matrix("model.embed_tokens.weight", config.vocab_size, config.hidden_size);
}

HeadWeights load_head(const Checkpoint& checkpoint, const HfConfig& config, DType precision, Device device) {
  const Loader load(checkpoint, precision, device);
  const char* head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return {load.vector("model.norm.weight", config.hidden_size),
          load.matrix(head, config.vocab_size, config.hidden_size)};
}

std::int64_t layer_parameters(const HfConfig& config, const LayerShape& shape) {
  const std::int64_t q_width = shape.heads() * config.head_dim, kv_width = shape.kv_heads * config.head_dim;
  const std::int64_t biases = config.qkv_bias ? q_width + 2 * kv_width : 0;
  return config.hidden_size * (2 * q_width + 2 * kv_width + 3 * shape.columns + 2) + biases;
}

std::int64_t embedding_parameters(const HfConfig& config) {
  return config.vocab_size * config.hidden_size;
}

std::int64_t head_parameters(const HfConfig& config) {
  return config.hidden_size + (config.tie_word_embeddings ? 0 : config.vocab_size * config.hidden_size);
}

}  // namespace galapagos
