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

std::string attention_output_name(std::int64_t layer) {
  return layer_name(layer, "self_attn.o_proj");
}
std::string ffn_output_name(std::int64_t layer) {
  return layer_name(layer, "mlp.down_proj");
}

LayerWeights load_layer(const Checkpoint& checkpoint, const HfConfig& config, std::int64_t layer,
                        DType precision, Device device) {
  const Loader load(checkpoint, precision, device);
  const LayerShape& shape = config.shape(layer);
  const std::int64_t hidden = config.hidden_size, q_width = shape.heads() * config.head_dim;
  const std::int64_t kv_width = shape.kv_heads * config.head_dim;
  const auto name = [&](const char* part) { return layer_name(layer, part); };
  LayerWeights weights;
  if (shape.heads() > 0) {
    AttentionWeights& attention = weights.attention;
    attention.kv_heads = shape.kv_heads;
    attention.kv_of_head = shape.kv_of_head;
    attention.norm = load.vector(name("input_layernorm.weight"), hidden);
    attention.q = load.matrix(name("self_attn.q_proj.weight"), q_width, hidden);
    attention.k = load.matrix(name("self_attn.k_proj.weight"), kv_width, hidden);
    attention.v = load.matrix(name("self_attn.v_proj.weight"), kv_width, hidden);
    attention.o = load.matrix(name("self_attn.o_proj.weight"), hidden, q_width);
    if (config.qkv_bias) {
      attention.q_bias = load.vector(name("self_attn.q_proj.bias"), q_width);
      attention.k_bias = load.vector(name("self_attn.k_proj.bias"), kv_width);
      attention.v_bias = load.vector(name("self_attn.v_proj.bias"), kv_width);
    }
  }
  if (shape.columns > 0) {
    FfnWeights& ffn = weights.ffn;
    ffn.columns = shape.columns;
    ffn.norm = load.vector(name("post_attention_layernorm.weight"), hidden);
    ffn.gate = load.matrix(name("mlp.gate_proj.weight"), shape.columns, hidden);
    ffn.up = load.matrix(name("mlp.up_proj.weight"), shape.columns, hidden);
    ffn.down = load.matrix(name("mlp.down_proj.weight"), hidden, shape.columns);
  }
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

std::int64_t attention_parameters(const HfConfig& config, std::int64_t heads, std::int64_t kv_heads) {
  if (heads == 0) return 0;
  const std::int64_t width = (heads + kv_heads) * config.head_dim;  // of q and o; of k and v
  const std::int64_t biases = config.qkv_bias ? (heads + 2 * kv_heads) * config.head_dim : 0;
  return config.hidden_size * (2 * width + 1) + biases;
}

std::int64_t ffn_parameters(const HfConfig& config, std::int64_t columns) {
  return columns == 0 ? 0 : config.hidden_size * (3 * columns + 1);
}

std::int64_t layer_parameters(const HfConfig& config, const LayerShape& shape) {
  return attention_parameters(config, shape.heads(), shape.kv_heads) + ffn_parameters(config, shape.columns);
}

std::int64_t parameters_in_layers(const HfConfig& config) {
  std::int64_t sum = 0;
  for (const LayerShape& shape : config.layer_shapes) sum += layer_parameters(config, shape);
  return sum;
}

std::int64_t embedding_parameters(const HfConfig& config) {
  return config.vocab_size * config.hidden_size;
}

std::int64_t head_parameters(const HfConfig& config) {
  return config.hidden_size + (config.tie_word_embeddings ? 0 : config.vocab_size * config.hidden_size);
}

}  // namespace galapagos
