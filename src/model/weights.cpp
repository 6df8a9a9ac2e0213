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

  /// Rows of a matrix.
  OwnedTensor rows(const std::string& name, const Shape& shape, const Range& range) const {
    OwnedTensor host({range.count(), shape[1]}, precision_, Device::cpu, name);
    checkpoint_.read_rows(name, {shape[0], shape[1]}, range.first, range.last, precision_,
                          {host->data, host->bytes()});
    return checked(std::move(host), name);
  }

  OwnedTensor columns(const std::string& name, const Shape& shape, const Range& range) const {
    if (range == Range{0, shape[1]}) return rows(name, shape, {0, shape[0]});
    OwnedTensor host({shape[0], range.count()}, precision_, Device::cpu, name);
    checkpoint_.read_columns(name, {shape[0], shape[1]}, range.first, range.last, precision_,
                             {host->data, host->bytes()});
    return checked(std::move(host), name);
  }

  /// Norms and biases stay in fp32: they are small and everything passes through them.
  OwnedTensor vector(const std::string& name, std::int64_t length, const Range& range) const {
    const std::vector<float> values = checkpoint_.read_float(name, {length});
    OwnedTensor host({range.count()}, DType::f32, Device::cpu, name);
    convert_from_float(std::span(values).subspan(static_cast<std::size_t>(range.first),
                                                 static_cast<std::size_t>(range.count())),
                       DType::f32, host->data);
    return checked(std::move(host), name);
  }
  OwnedTensor vector(const std::string& name, std::int64_t length) const {
    return vector(name, length, {0, length});
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
  return load_layer(checkpoint, config, layer, whole_layer(config.shape(layer)), precision, device);
}

LayerWeights load_layer(const Checkpoint& checkpoint, const HfConfig& config, std::int64_t layer,
                        const LayerPart& part, DType precision, Device device) {
  const Loader load(checkpoint, precision, device);
  const LayerShape& shape = config.shape(layer);
  const std::int64_t hidden = config.hidden_size, q_width = shape.heads() * config.head_dim;
  const std::int64_t kv_width = shape.kv_heads * config.head_dim;
  const auto width = [&](const Range& heads) {
    return Range{heads.first * config.head_dim, heads.last * config.head_dim};
  };
  const Range q = width(part.heads), kv = width(part.kv_heads);
  const auto name = [&](const char* of) { return layer_name(layer, of); };
  LayerWeights weights;
  if (shape.heads() > 0) {
    AttentionWeights& attention = weights.attention;
    LayerShape own = part_of_layer(shape, part);
    attention.kv_heads = own.kv_heads;
    attention.kv_of_head = std::move(own.kv_of_head);
    attention.norm = load.vector(name("input_layernorm.weight"), hidden);
    attention.q = load.rows(name("self_attn.q_proj.weight"), {q_width, hidden}, q);
    attention.k = load.rows(name("self_attn.k_proj.weight"), {kv_width, hidden}, kv);
    attention.v = load.rows(name("self_attn.v_proj.weight"), {kv_width, hidden}, kv);
    attention.o = load.columns(name("self_attn.o_proj.weight"), {hidden, q_width}, q);
    if (config.qkv_bias) {
      attention.q_bias = load.vector(name("self_attn.q_proj.bias"), q_width, q);
      attention.k_bias = load.vector(name("self_attn.k_proj.bias"), kv_width, kv);
      attention.v_bias = load.vector(name("self_attn.v_proj.bias"), kv_width, kv);
    }
  }
  if (shape.columns > 0) {
    FfnWeights& ffn = weights.ffn;
    ffn.columns = part.columns.count();
    ffn.norm = load.vector(name("post_attention_layernorm.weight"), hidden);
    ffn.gate = load.rows(name("mlp.gate_proj.weight"), {shape.columns, hidden}, part.columns);
    ffn.up = load.rows(name("mlp.up_proj.weight"), {shape.columns, hidden}, part.columns);
    ffn.down = load.columns(name("mlp.down_proj.weight"), {hidden, shape.columns}, part.columns);
  }
  return weights;
}

OwnedTensor load_embedding(const Checkpoint& checkpoint, const HfConfig& config, const Range& ids,
                           DType precision, Device device) {
  return Loader(checkpoint, precision, device)
      .rows("model.embed_tokens.weight", {config.vocab_size, config.hidden_size}, ids);
}

HeadWeights load_head(const Checkpoint& checkpoint, const HfConfig& config, const Range& ids, DType precision,
                      Device device) {
  const Loader load(checkpoint, precision, device);
  const char* head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return {load.vector("model.norm.weight", config.hidden_size),
          load.rows(head, {config.vocab_size, config.hidden_size}, ids)};
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
