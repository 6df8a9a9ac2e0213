#include "info.hpp"

#include <fmt/format.h>

#include <galapagos/core/hash.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/weights.hpp>

namespace galapagos::app {

Description describe_model(const std::filesystem::path& folder) {
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const LayerShape shape = dense_layer_shape(config);
  const std::int64_t in_layers = layer_parameters(config, shape) * config.layers;
  const std::int64_t total = in_layers + embedding_parameters(config) + head_parameters(config);
  const std::int64_t prunable =
      config.layers * config.hidden_size * (config.heads * config.head_dim + config.intermediate_size);
  const std::string rope = config.rope_scaling ? fmt::format("theta {:g}, llama3 scaling by {:g}",
                                                             config.rope_theta, config.rope_scaling->factor)
                                               : fmt::format("theta {:g}", config.rope_theta);
  const auto count = [](std::int64_t number) { return human_count(static_cast<std::uint64_t>(number)); };

  Description description;
  description.text = fmt::format(
      "model          {}\nlayers         {}\nhidden size    {}\nheads          {} of {}, {} KV heads{}\nffn "
      "columns    {}\n"
      "vocabulary     {}{}\npositions      {}, {}\nparameters     {} ({} in layers, {} in o_proj and "
      "down_proj)\n"
      "weights        {}, {} in {} tensors\nfingerprint    {}\n",
      config.model_type, config.layers, config.hidden_size, config.heads, config.head_dim, config.kv_heads,
      config.qkv_bias ? ", q/k/v biases" : "", config.intermediate_size, config.vocab_size,
      config.tie_word_embeddings ? ", tied output head" : "", config.max_position_embeddings, rope,
      count(total), count(in_layers), count(prunable), name_of(checkpoint.dtype()),
      human_bytes(checkpoint.total_bytes()), checkpoint.names().size(), hex64(checkpoint.fingerprint()));
  Json& json = description.json;
  json["kind"] = "model";
  json["model_type"] = config.model_type;
  json["layers"] = config.layers;
  json["hidden_size"] = config.hidden_size;
  json["heads"] = config.heads;
  json["kv_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json["ffn_columns"] = config.intermediate_size;
  json["vocab_size"] = config.vocab_size;
  json["parameters"] = total;
  json["parameters_in_layers"] = in_layers;
  json["prunable_parameters"] = prunable;
  json["dtype"] = name_of(checkpoint.dtype());
  json["bytes"] = checkpoint.total_bytes();
  json["fingerprint"] = hex64(checkpoint.fingerprint());
  return description;
}

}  // namespace galapagos::app
