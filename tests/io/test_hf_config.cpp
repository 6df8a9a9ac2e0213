#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <filesystem>
#include <random>

#include <galapagos/core/error.hpp>
#include <galapagos/io/hf_config.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

RopeSettings turned_by(double theta) {
  RopeSettings rope;
  rope.theta = theta;
  return rope;
}

HfConfig read_text(const std::string& text) {
  const TemporaryFolder folder;
  write_text(folder / "config.json", text);
  return read_hf_config(folder.path());
}

HfConfig read(const Json& json) {
  return read_text(json.dump());
}

std::string error_of(const Json& json) {
  return input_error([&] { read(json); });
}

/// All warnings of a configuration, one a line.
std::string warnings_of(const Json& json) {
  std::vector<std::string> warnings;
  parse_hf_config(json, "config.json", &warnings);
  std::string all;
  for (const std::string& warning : warnings) all += warning + "\n";
  return all;
}

/// The least a config.json has to say.
Json minimal(const std::string& model_type) {
  Json json = {{"model_type", model_type}, {"hidden_size", 64},        {"intermediate_size", 96},
               {"num_hidden_layers", 2},   {"num_attention_heads", 4}, {"vocab_size", 100}};
  if (model_type == "mistral") json["sliding_window"] = nullptr;
  if (model_type != "llama") json["num_key_value_heads"] = 2;
  return json;
}

Json with(Json json, const std::string& key, const Json& value) {
  json[key] = value;
  return json;
}

Json without(Json json, const std::string& key) {
  json.erase(key);
  return json;
}

HfConfig with_source(HfConfig config, const Json& source) {
  config.source = source;
  return config;
}

const Json llama3_rope = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 8192}};

}  // namespace

TEST_CASE("the configurations of the small models") {
  const HfConfig llama3 = read_hf_config(data_file("models/llama3_tiny"));
  CHECK(llama3.model_type == "llama");
  CHECK(llama3.hidden_size == 64);
  CHECK(llama3.intermediate_size == 176);
  CHECK(llama3.layers == 4);
  CHECK(llama3.heads == 8);
  CHECK(llama3.kv_heads == 4);
  CHECK(llama3.head_dim == 16);
  CHECK(llama3.vocab_size == 768);
  CHECK(llama3.max_position_embeddings == 512);
  CHECK(llama3.rms_norm_eps == 1e-5);
  CHECK(llama3.rope.theta == 500000);
  CHECK(llama3.rope.kind == RopeKind::llama3);
  CHECK(llama3.rope.factor == 8);
  CHECK(llama3.rope.original_positions == 64);
  CHECK_FALSE(llama3.features.qkv_bias);
  CHECK_FALSE(llama3.features.qk_norm);
  CHECK_FALSE(llama3.tie_word_embeddings);
  CHECK(llama3.torch_dtype == "bfloat16");
  CHECK(llama3.bos_id == 0);
  CHECK(llama3.eos_id == 1);
  CHECK(llama3.source["architectures"][0] == "LlamaForCausalLM");

  const HfConfig qwen2 = read_hf_config(data_file("models/qwen2_tiny"));
  CHECK(qwen2.model_type == "qwen2");
  CHECK(qwen2.layers == 3);
  CHECK(qwen2.kv_heads == 2);
  CHECK(qwen2.head_dim == 8);
  CHECK(qwen2.rope == turned_by(1e6));
  CHECK(qwen2.features.qkv_bias);
  CHECK(qwen2.tie_word_embeddings);

  const HfConfig llama2 = read_hf_config(data_file("models/llama2_tiny"));
  CHECK(llama2.kv_heads == 6);
  CHECK(llama2.head_dim == 8);
  CHECK(llama2.rope == turned_by(1e4));
}

TEST_CASE("absent keys take the defaults of transformers") {
  const HfConfig llama = read(minimal("llama"));
  CHECK(llama.kv_heads == 4);
  CHECK(llama.head_dim == 16);
  CHECK(llama.max_position_embeddings == 2048);
  CHECK(llama.rms_norm_eps == 1e-6);
  CHECK(llama.rope == turned_by(1e4));
  CHECK_FALSE(llama.tie_word_embeddings);
  CHECK(llama.torch_dtype.empty());
  CHECK(llama.bos_id == 1);
  CHECK(llama.eos_id == 2);

  const HfConfig qwen2 = read(minimal("qwen2"));
  CHECK(qwen2.max_position_embeddings == 32768);
  CHECK_FALSE(qwen2.bos_id);
  CHECK_FALSE(qwen2.eos_id);
  CHECK(contains(error_of(without(minimal("qwen2"), "num_key_value_heads")),
                 "no multiple of num_key_value_heads 32"));

  const HfConfig qwen3 = read(minimal("qwen3"));
  CHECK(qwen3.model_type == "qwen3");
  CHECK(qwen3.features.qk_norm);
  CHECK_FALSE(qwen3.features.qkv_bias);
  CHECK(qwen3.head_dim == 128);
  CHECK(read(with(minimal("qwen3"), "head_dim", 32)).head_dim == 32);
  CHECK(qwen3.rms_norm_eps == 1e-6);

  const HfConfig mistral = read(minimal("mistral"));
  CHECK(mistral.model_type == "llama");
  CHECK(mistral.max_position_embeddings == 131072);
  CHECK(contains(error_of(without(minimal("mistral"), "num_key_value_heads")), "num_key_value_heads 8"));
  for (const char* type : {"llama", "mistral", "qwen2", "qwen3"}) {
    CHECK(read(with(minimal(type), "num_key_value_heads", nullptr)).kv_heads == 4);
  }
}

TEST_CASE("token ids may be numbers, lists or null") {
  const Json base = minimal("llama");
  CHECK(read(with(base, "eos_token_id", {7, 8, 9})).eos_id == 7);
  CHECK(read(with(base, "eos_token_id", 99)).eos_id == 99);
  CHECK_FALSE(read(with(base, "eos_token_id", nullptr)).eos_id);
  CHECK_FALSE(read(with(base, "bos_token_id", Json::array())).bos_id);
  CHECK_FALSE(read(with(base, "eos_token_id", 100)).eos_id);
  CHECK_FALSE(read(with(base, "bos_token_id", -1)).bos_id);
  CHECK(read(with(base, "eos_token_id", {128001, 7})).eos_id == 7);
  CHECK(contains(warnings_of(with(base, "eos_token_id", {7, 100})), "eos_token_id 100"));
  CHECK(warnings_of(with(base, "pad_token_id", -1)).empty());
  CHECK(contains(error_of(with(base, "bos_token_id", "1")), "bos_token_id"));
  CHECK(contains(error_of(with(base, "bos_token_id", {{1}})), "bos_token_id"));
  CHECK_FALSE(read(with(base, "vocab_size", 1)).eos_id);
}

TEST_CASE("models that would be computed wrongly are refused by name") {
  const Json llama = minimal("llama");
  for (const char* type : {"phi", "qwen2_moe", "llama4", "opt", ""}) {
    const std::string error = error_of(with(llama, "model_type", type));
    CHECK(contains(error, std::string("model_type '") + type + "'"));
    CHECK(contains(error, "llama, mistral, "));
  }
  CHECK(contains(error_of(without(llama, "model_type")), "model_type"));
  CHECK(contains(error_of(with(llama, "hidden_act", "gelu")), "hidden_act 'gelu'"));
  CHECK(read(with(llama, "hidden_act", "swish")) ==
        with_source(read(llama), with(llama, "hidden_act", "swish")));
  CHECK(contains(error_of(with(llama, "quantization_config", {{"bits", 4}})), "quantization_config"));
  CHECK(contains(error_of(with(llama, "per_layer_config", {{"0", {{"intermediate_size", 3}}}})),
                 "not supported yet"));
  CHECK(error_of(with(llama, "per_layer_config", Json::object())).empty());
  CHECK(error_of(with(llama, "pretraining_tp", 2)).empty());
  CHECK(error_of(with(llama, "sliding_window", 4096)).empty());  // llama has none whatever the key says
  CHECK(contains(error_of(with(llama, "layer_types", {"full_attention", "sliding_attention"})),
                 "sliding_attention"));
  CHECK(error_of(with(llama, "layer_types", {"full_attention", "full_attention"})).empty());
  CHECK(contains(error_of(with(llama, "layer_types", "full_attention")), "layer_types"));

  CHECK(read(with(minimal("mistral"), "sliding_window", 512)).attention_kind(1).window == 512);
  CHECK(read(without(minimal("mistral"), "sliding_window")).attention_kind(0).window == 4096);
  CHECK(read(minimal("mistral")).attention_kinds.empty());
  CHECK(read(with(minimal("phi3"), "sliding_window", 2047)).attention_kind(1).window == 2047);
  CHECK(read(minimal("phi3")).longest_sequence() == 4096);
  CHECK(error_of(with(minimal("qwen2"), "sliding_window", 4096)).empty());
}

TEST_CASE("biases come where a family's code has them") {
  const auto features = [](const char* type, const char* key) {
    return read(with(minimal(type), key, true)).features;
  };
  CHECK(features("llama", "attention_bias") == ModelFeatures{.qkv_bias = true, .o_bias = true});
  CHECK(features("llama", "mlp_bias") == ModelFeatures{.mlp_bias = true});
  CHECK(features("qwen3", "attention_bias") ==
        ModelFeatures{.qkv_bias = true, .qk_norm = true, .o_bias = true});
  CHECK(features("qwen3", "mlp_bias") == ModelFeatures{.qk_norm = true});
  CHECK(features("qwen2", "attention_bias") == ModelFeatures{.qkv_bias = true});
  for (const char* type : {"mistral", "phi3"}) {
    for (const char* key : {"attention_bias", "mlp_bias"}) CHECK(features(type, key) == ModelFeatures{});
  }
}

TEST_CASE("the layers of a pruned model are read and checked") {
  Json pruned = with(minimal("llama"), "model_type", "galapagos");
  CHECK(contains(error_of(pruned), "base_model_type"));
  pruned["base_model_type"] = "llama";
  CHECK(contains(error_of(pruned), "pruned_layers"));
  const auto layer = [](std::vector<int> kv_of_head, int kv_heads, int columns) {
    return Json{
        {"kv_of_head", kv_of_head}, {"num_key_value_heads", kv_heads}, {"intermediate_size", columns}};
  };
  const auto layers = [&](const Json& first) {
    Json list = Json::array();
    for (int i = 0; i < pruned["num_hidden_layers"].get<int>(); ++i)
      list.push_back(i == 0 ? first : layer({}, 0, 0));
    return with(pruned, "pruned_layers", list);
  };
  const HfConfig config = read(layers(layer({0, 1, 1}, 2, 5)));
  CHECK(config.model_type == "llama");
  CHECK(!config.even());
  CHECK(config.shape(0).heads() == 3);
  CHECK(config.shape(0).kv_heads == 2);
  CHECK(config.shape(0).columns == 5);
  CHECK(config.shape(1).heads() == 0);
  const Json bad[] = {
      layer({0, 2}, 2, 5), layer({1, 0}, 2, 5),     layer({0, 0}, 2, 5),
      layer({-1}, 1, 5),   layer({}, 1, 5),         layer({0}, 1, 97),
      layer({0}, 1, -1),   layer({0}, 99, 5),       layer({0, 0, 0, 0, 0}, 1, 5),
      Json::array(),       Json{{"kv_of_head", 3}}, with(layer({0}, 1, 5), "kv_of_head", {"x"})};
  for (const Json& first : bad) {
    CAPTURE(first.dump());
    CHECK(contains(error_of(layers(first)), "pruned_layers 0"));
  }
  CHECK(contains(error_of(with(pruned, "pruned_layers", Json::array())), "pruned_layers"));
}

TEST_CASE("sizes are checked") {
  const Json llama = minimal("llama");
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    CAPTURE(key);
    CHECK(contains(error_of(without(llama, key)), key));
    CHECK(contains(error_of(with(llama, key, nullptr)), key));
  }
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "vocab_size", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    CAPTURE(key);
    for (const Json& bad : {Json(0), Json(-4), Json(std::int64_t{1} << 31), Json(UINT64_MAX), Json(4.0),
                            Json("4"), Json(true), Json::array({4})}) {
      CHECK(contains(error_of(with(llama, key, bad)), key));
    }
  }
  CHECK(contains(error_of(with(llama, "num_key_value_heads", 3)), "no multiple of num_key_value_heads 3"));
  CHECK(contains(error_of(with(llama, "head_dim", 7)), "head_dim 7 is odd"));
  CHECK(contains(error_of(with(llama, "hidden_size", 4 * 7)), "head_dim 7 is odd"));
  CHECK(contains(error_of(with(llama, "hidden_size", 65)), "no multiple of 4 heads"));
  CHECK(read(with(with(llama, "hidden_size", 65), "head_dim", 16)).head_dim == 16);
  CHECK(contains(error_of(with(llama, "rms_norm_eps", 0)), "rms_norm_eps"));
  CHECK(contains(error_of(with(llama, "rms_norm_eps", 2)), "rms_norm_eps"));
  CHECK(contains(error_of(with(llama, "tie_word_embeddings", 1)), "tie_word_embeddings"));
}

TEST_CASE("a missing or broken configuration is named") {
  const TemporaryFolder folder;
  CHECK(contains(input_error([&] { read_hf_config(folder / "none"); }), "no such folder"));
  CHECK(contains(input_error([&] { read_hf_config(folder.path()); }), "no config.json"));
  for (const char* text : {"", "[]", "3", "{", "{}", "null", "\xff\xfe", "NaN"}) {
    CAPTURE(text);
    CHECK_FALSE(input_error([&] { read_text(text); }).empty());
  }
}

TEST_CASE("a damaged configuration never does harm") {
  const std::string valid =
      with(with(with(minimal("llama"), "rope_scaling", llama3_rope), "eos_token_id", {1, 2}), "torch_dtype",
           "float16")
          .dump();
  const TemporaryFolder folder;
  std::mt19937_64 random(3);
  int accepted = 0;
  for (int round = 0; round < 4000; ++round) {
    write_text(folder / "config.json", mutated(valid, random));
    try {
      const HfConfig config = read_hf_config(folder.path());
      REQUIRE(config.heads % config.kv_heads == 0);
      REQUIRE(config.head_dim % 2 == 0);
      REQUIRE(std::min({config.hidden_size, config.intermediate_size, config.layers, config.head_dim,
                        config.vocab_size, config.max_position_embeddings}) > 0);
      ++accepted;
    } catch (const InputError&) {
    }
  }
  CHECK(accepted > 50);
}

TEST_CASE("every key may hold every kind of value") {
  const Json base = read_hf_config(data_file("models/llama3_tiny")).source;
  const Json values[] = {nullptr, true, 0, -1, 1e300, UINT64_MAX, "", Json::object(), {1, {}}, {{{"a", 1}}}};
  for (const auto& [key, old] : base.items()) {
    for (const Json& value : values) {
      try {
        read(with(base, key, value));
      } catch (const InputError&) {
      }
    }
  }
  for (const auto& [key, old] : base["rope_scaling"].items()) {
    for (const Json& value : values) {
      try {
        read(with(base, "rope_scaling", with(base["rope_scaling"], key, value)));
      } catch (const InputError&) {
      }
    }
  }
}
