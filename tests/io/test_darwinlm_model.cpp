#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/core/file.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/model_shape.hpp>
#include <galapagos/io/safetensors.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

struct Layer {
  std::int64_t heads, kv_heads, columns;  // a projection of which there are none is not there
};

constexpr std::int64_t hidden = 16, head_dim = 4;

Json config_of(std::int64_t kv_heads, std::size_t layers) {
  return {{"model_type", "darwinlm"},
          {"architectures", {"LlamaForCausalLM"}},
          {"auto_map", {{"AutoConfig", "configuration_darwinlm.DarwinLMConfig"}}},
          {"hidden_size", hidden},
          {"head_dim", head_dim},
          {"num_attention_heads", 4},
          {"num_key_value_heads", kv_heads},
          {"intermediate_size", 24},
          {"num_hidden_layers", layers},
          {"vocab_size", 10}};
}

void write_model(const TemporaryFolder& folder, const Json& config, const std::vector<Layer>& layers,
                 const std::string& left_out) {
  static const std::vector<std::byte> zeros(10000);
  std::vector<TensorEntry> tensors;
  const auto add = [&](const std::string& name, std::int64_t rows) {
    if (rows == 0) return;
    tensors.push_back(
        {name, "F32", {rows, hidden}, std::span(zeros).first(static_cast<std::size_t>(rows * hidden) * 4)});
  };
  add("model.embed_tokens.weight", 10);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    add(prefix + "self_attn.q_proj.weight", layers[i].heads * head_dim);
    add(prefix + "self_attn.k_proj.weight", layers[i].kv_heads * head_dim);
    add(prefix + "self_attn.v_proj.weight", layers[i].kv_heads * head_dim);
    add(prefix + "self_attn.o_proj.weight", layers[i].heads * head_dim);
    for (const char* name : {"gate", "up", "down"})
      add(prefix + "mlp." + name + "_proj.weight", layers[i].columns);
    for (const char* name : {"input", "post_attention"}) add(prefix + name + "_layernorm.weight", 1);
  }
  std::erase_if(tensors, [&](const TensorEntry& tensor) { return tensor.name == left_out; });
  write_safetensors(folder / "model.safetensors", tensors);
  write_text(folder / "config.json", config.dump());
}

HfConfig read(const Json& config, const std::vector<Layer>& layers, const std::string& left_out = "") {
  const TemporaryFolder folder;
  write_model(folder, config, layers, left_out);
  return read_hf_config(folder.path());
}

std::string error_of(const Json& config, const std::vector<Layer>& layers) {
  return input_error([&] { read(config, layers); });
}

}  // namespace

TEST_CASE("a DarwinLM model that lacks a tensor has not lost a part of a layer") {
  const std::vector<Layer> layers = {{4, 4, 24}, {3, 3, 7}};
  for (const char* name :
       {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
        "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"}) {
    INFO(name);
    CHECK_THROWS_AS(read(config_of(4, 2), layers, std::string("model.layers.1.") + name + ".weight"),
                    InputError);
  }
}

TEST_CASE("only DarwinLM's own families are taken for them") {
  Json other = config_of(4, 1);
  other["architectures"] = {"Qwen2MoeForCausalLM"};
  CHECK_THROWS_AS(read(other, {{4, 4, 24}}), InputError);
}

TEST_CASE("a DarwinLM model of as many KV heads as heads has its weights' shapes") {
  const HfConfig config = read(config_of(4, 4), {{4, 4, 24}, {3, 3, 7}, {0, 0, 24}, {1, 1, 0}});
  CHECK(config.pruned());
  CHECK(config.model_type == "llama");
  CHECK(config.layer_shapes ==
        std::vector<LayerShape>{
            even_layer_shape(4, 4, 24), even_layer_shape(3, 3, 7), {0, {}, 24}, even_layer_shape(1, 1, 0)});
  // What a database keeps of the model says the same.
  CHECK(parse_hf_config(config.source, "again").layer_shapes == config.layer_shapes);
  CHECK(config.heads == 4);
  CHECK(config.intermediate_size == 24);
}

TEST_CASE("a DarwinLM model whose weights are not there counts as the unpruned one") {
  const TemporaryFolder folder, alone;
  const Json json = config_of(4, 2);
  write_model(folder, json, {{3, 3, 7}, {0, 0, 24}}, "");
  write_text(alone / "config.json", json.dump());
  CHECK(read_shape(folder.path()).layer_shapes ==
        std::vector<LayerShape>{even_layer_shape(3, 3, 7), {0, {}, 24}});
  for (const auto& path : {folder / "config.json", alone.path(), alone / "config.json"}) {
    const HfConfig config = read_shape(path);
    CHECK_FALSE(config.pruned());
    CHECK(config.layer_shapes == std::vector<LayerShape>(2, even_layer_shape(4, 4, 24)));
  }
}

TEST_CASE("a DarwinLM model of grouped heads is read where the groups are certain") {
  CHECK(read(config_of(2, 3), {{4, 2, 24}, {2, 1, 5}, {0, 0, 1}}).layer_shapes ==
        std::vector<LayerShape>{even_layer_shape(4, 2, 24), even_layer_shape(2, 1, 5), {0, {}, 1}});
  CHECK(contains(
      error_of(config_of(2, 1), {{3, 2, 24}}),
      "3 of 4 query heads are left and all KV heads, and config.json does not say which (looked for its key "
      "'pruned_heads')"));
  CHECK(contains(error_of(config_of(2, 1), {{2, 2, 24}}), "does not say which"));  // each KV head with one?
  CHECK(contains(error_of(config_of(2, 1), {{3, 1, 24}}), "not certain which belong together"));
  Json said = config_of(2, 1);
  said["pruned_heads"] = {{"0", {1}}};
  CHECK(read(said, {{3, 2, 24}}).shape(0) == LayerShape{2, {0, 1, 1}, 24});
  said["pruned_heads"] = {{"0", {0, 1}}};
  CHECK(contains(error_of(said, {{2, 2, 24}}), "or a KV head without any"));
  CHECK(contains(error_of(said, {{3, 2, 24}}), "leaves 2 query heads, and 3 are there"));
}

TEST_CASE("a DarwinLM model with impossible shapes or of another family") {
  CHECK(contains(error_of(config_of(4, 1), {{5, 5, 24}}), "is of shape [20, 16]"));
  CHECK(contains(error_of(config_of(4, 1), {{4, 4, 25}}), "is of shape [25, 16]"));
  Json other = config_of(4, 1);
  other["architectures"] = {"MambaForCausalLM"};
  CHECK(contains(error_of(other, {{4, 4, 24}}), "model_type 'darwinlm' is not supported"));
  Json stock = config_of(4, 1);
  stock["model_type"] = "qwen2";
  CHECK(read(stock, {{3, 3, 24}}).features.qkv_bias);
  CHECK(read(stock, {{3, 3, 24}}).source["base_model_type"] == "qwen2");
  stock.erase("auto_map");  // nothing says that it is one
  CHECK_FALSE(read(stock, {{3, 3, 24}}).pruned());
}
