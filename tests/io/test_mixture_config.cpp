// What config.json says of mixtures of experts: what transformers assumes where it says nothing, and the
// layers of pruned ones.
#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/mixture_names.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

HfConfig read(const Json& json) {
  return parse_hf_config(json, "config.json");
}

std::string error_of(const Json& json) {
  return input_error([&] { read(json); });
}

Json with(Json json, const std::string& key, const Json& value) {
  json[key] = value;
  return json;
}

/// The least a config.json has to say, with small mixtures.
Json minimal(const std::string& model_type) {
  Json json = {{"model_type", model_type}, {"hidden_size", 64},        {"intermediate_size", 96},
               {"num_hidden_layers", 4},   {"num_attention_heads", 4}, {"num_key_value_heads", 2},
               {"vocab_size", 100},        {"num_experts", 6},         {"num_experts_per_tok", 2}};
  if (model_type == "qwen3_moe") json["moe_intermediate_size"] = 24;
  return json;
}

Json without(Json json, std::initializer_list<const char*> keys) {
  for (const char* key : keys) json.erase(key);
  return json;
}

/// Which layers are mixtures, as "-mm-".
std::string kinds(const HfConfig& config) {
  std::string kinds;
  for (const LayerShape& shape : config.layer_shapes) kinds += shape.mixture() ? 'm' : '-';
  return kinds;
}

Json pruned_layer(const Json& experts, std::int64_t columns) {
  Json layer = {{"kv_of_head", {0, 1}}, {"num_key_value_heads", 2}, {"intermediate_size", columns}};
  if (!experts.is_null()) layer["experts"] = experts;
  return layer;
}

/// A pruned model of two layers of the family, the second of which is this one.
Json pruned(const std::string& family, const Json& layer) {
  Json json = minimal(family);
  json["model_type"] = pruned_model_type;
  json["base_model_type"] = family;
  json["num_hidden_layers"] = 2;
  json["pruned_layers"] = {pruned_layer(nullptr, 0), layer};
  return json;
}

}  // namespace

TEST_CASE("the configurations of the small mixtures") {
  const HfConfig tiny = read_hf_config(data_file("models/qwen3_moe_tiny"));
  CHECK(tiny.model_type == "qwen3_moe");
  CHECK(tiny.mixture == MixtureSettings{6, 24, 2, true});
  CHECK(kinds(tiny) == "-mmm");
  CHECK(tiny.shape(0).columns == 48);
  CHECK(tiny.shape(1).columns == 6 * 24);
  CHECK(tiny.shape(1).experts == std::vector<std::int64_t>(6, 24));
  CHECK(tiny.features == ModelFeatures{.qk_norm = true});
  CHECK_FALSE(tiny.mixtral_names);

  const HfConfig odd = read_hf_config(data_file("models/qwen3_moe_odd"));
  CHECK(odd.mixture == MixtureSettings{6, 24, 3, false});
  CHECK(kinds(odd) == "-m-m");

  const HfConfig mixtral = read_hf_config(data_file("models/mixtral_tiny"));
  CHECK(mixtral.model_type == "mixtral");
  CHECK(mixtral.mixture == MixtureSettings{5, 40, 2, true});
  CHECK(kinds(mixtral) == "mmm");
  CHECK(mixtral.mixtral_names);

  const HfConfig left = read_hf_config(data_file("models/qwen3_moe_pruned"));
  CHECK(left.mixture == tiny.mixture);
  CHECK(kinds(left) == "-mm-");
  CHECK(left.shape(1).experts == std::vector<std::int64_t>{24, 7, 1, 12});
  CHECK(left.shape(1).columns == 44);
  CHECK(left.shape(3).columns == 0);
  CHECK_FALSE(read_hf_config(data_file("models/mixtral_pruned")).mixtral_names);
}

TEST_CASE("absent keys of mixtures take the defaults of transformers") {
  const Json bare =
      without(minimal("qwen3_moe"), {"num_experts", "num_experts_per_tok", "moe_intermediate_size"});
  const HfConfig qwen3 = read(bare);
  CHECK(qwen3.mixture == MixtureSettings{128, 768, 8, false});
  CHECK(kinds(qwen3) == "mmmm");
  CHECK(qwen3.shape(3).columns == 128 * 768);
  CHECK(qwen3.max_position_embeddings == 32768);
  CHECK(qwen3.rms_norm_eps == 1e-6);
  CHECK(qwen3.rope.theta == 10000);
  CHECK_FALSE(qwen3.bos_id);
  CHECK(read(without(bare, {"num_key_value_heads"})).kv_heads == 4);

  const Json bare_mixtral = without(minimal("mixtral"), {"num_experts", "num_experts_per_tok"});
  const HfConfig mixtral = read(bare_mixtral);
  CHECK(mixtral.mixture == MixtureSettings{8, 96, 2, true});
  CHECK(mixtral.max_position_embeddings == 131072);
  CHECK(mixtral.rms_norm_eps == 1e-5);
  CHECK(mixtral.rope.theta == 1e6);
  CHECK(mixtral.bos_id == 1);
  CHECK(mixtral.eos_id == 2);
  CHECK(contains(error_of(without(bare_mixtral, {"num_key_value_heads"})), "num_key_value_heads 8"));

  for (const Json& json : {bare, bare_mixtral}) {
    const HfConfig config = read(json);
    for (const char* key : {"num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob",
                            "mlp_only_layers", "decoder_sparse_step", "moe_intermediate_size"}) {
      CAPTURE(key);
      CHECK(read(with(json, key, nullptr)).layer_shapes == config.layer_shapes);
      CHECK(read(with(json, key, nullptr)).mixture == config.mixture);
    }
  }
}

TEST_CASE("experts are counted under either name") {
  for (const char* family : {"qwen3_moe", "mixtral"}) {
    const Json base = minimal(family);
    CHECK(read(base).mixture->experts == 6);
    CHECK(read(with(without(base, {"num_experts"}), "num_local_experts", 3)).mixture->experts == 3);
    CHECK(read(with(with(base, "num_experts", nullptr), "num_local_experts", 3)).mixture->experts == 3);
    CHECK(contains(error_of(with(without(base, {"num_experts"}), "num_local_experts", "3")),
                   "num_local_experts"));
  }
}

TEST_CASE("which layers are mixtures") {
  const Json base = minimal("qwen3_moe");
  const auto with_step = [&](int step) { return kinds(read(with(base, "decoder_sparse_step", step))); };
  CHECK(with_step(1) == "mmmm");
  CHECK(with_step(2) == "-m-m");
  CHECK(with_step(3) == "--m-");
  CHECK(with_step(5) == "----");
  const auto dense = [&](const Json& layers) { return kinds(read(with(base, "mlp_only_layers", layers))); };
  CHECK(dense(Json::array()) == "mmmm");
  CHECK(dense({0, 2}) == "-m-m");
  CHECK(dense({3, 3, 17, -1}) == "mmm-");  // of what is no layer transformers takes no notice
  CHECK(kinds(read(with(with(base, "mlp_only_layers", {1}), "decoder_sparse_step", 2))) == "---m");
  CHECK(read(with(base, "mlp_only_layers", {1})).shape(1).columns == 96);
  // Mixtral has no such keys.
  CHECK(kinds(read(with(with(minimal("mixtral"), "mlp_only_layers", {1}), "decoder_sparse_step", 2))) ==
        "mmmm");
  CHECK(kinds(read(with(with(minimal("mixtral"), "num_experts", 1), "num_experts_per_tok", 1))) == "mmmm");
}

TEST_CASE("whether a token's weights add up to 1 is Qwen's to say, Mixtral's always do") {
  for (const bool value : {false, true}) {
    CHECK(read(with(minimal("qwen3_moe"), "norm_topk_prob", value)).mixture->renormalised == value);
    CHECK(read(with(minimal("mixtral"), "norm_topk_prob", value)).mixture->renormalised);
  }
}

TEST_CASE("mixtures have windows where their family's code has them") {
  const Json qwen = with(minimal("qwen3_moe"), "sliding_window", 512);
  CHECK(read(qwen).attention_kinds.empty());
  CHECK(read(with(qwen, "use_sliding_window", false)).attention_kinds.empty());
  const HfConfig sliding = read(with(qwen, "use_sliding_window", true));
  for (std::int64_t layer = 0; layer < 4; ++layer) CHECK(sliding.attention_kind(layer).window == 512);
  CHECK(contains(error_of(with(qwen, "use_sliding_window", "yes")), "use_sliding_window"));
  CHECK(read(with(minimal("mixtral"), "sliding_window", 512)).attention_kind(3).window == 512);
  CHECK(read(with(minimal("mixtral"), "sliding_window", nullptr)).attention_kinds.empty());
}

TEST_CASE("what config.json says wrongly of mixtures is named") {
  for (const char* family : {"qwen3_moe", "mixtral"}) {
    const Json base = minimal(family);
    std::vector<std::string> keys = {"num_experts", "num_experts_per_tok"};
    if (base.contains("moe_intermediate_size")) {
      keys.emplace_back("moe_intermediate_size");
      keys.emplace_back("decoder_sparse_step");
    }
    for (const std::string& key : keys) {
      for (const Json& bad : {Json(0), Json(-4), Json(std::int64_t{1} << 31), Json(UINT64_MAX), Json(4.0),
                              Json("4"), Json(true), Json::array({4}), Json::object()}) {
        CAPTURE(family, key, bad.dump());
        CHECK(contains(error_of(with(base, key, bad)), key));
      }
    }
    CHECK(contains(error_of(with(base, "num_experts_per_tok", 7)), "7 experts, but there are 6"));
    CHECK(error_of(with(base, "num_experts_per_tok", 6)).empty());
  }
  const Json qwen = minimal("qwen3_moe");
  for (const Json& bad : {Json(1), Json("1"), Json::array(), Json::object()})
    CHECK(contains(error_of(with(qwen, "norm_topk_prob", bad)), "norm_topk_prob"));
  for (const Json& bad : {Json(1), Json("1"), Json(true), Json::object(), Json::array({"1"}),
                          Json::array({1.0}), Json::array({nullptr}), Json::array({Json::array({1})})}) {
    CAPTURE(bad.dump());
    CHECK(contains(error_of(with(qwen, "mlp_only_layers", bad)), "mlp_only_layers"));
  }
}

TEST_CASE("more heads or experts than any model has are refused before they are counted one by one") {
  const auto sized = [](const char* family, std::int64_t layers, std::int64_t experts, std::int64_t heads) {
    const Json many = with(with(minimal(family), "num_hidden_layers", layers), "num_experts", experts);
    return with(with(many, "num_attention_heads", heads), "head_dim", 2);
  };
  for (const char* family : {"qwen3_moe", "mixtral"}) {
    const std::string error = error_of(sized(family, 65536, 65536, 4));
    CHECK(contains(error, "65536 layers with 65536 experts each"));
    CHECK(contains(error, "1048576"));
    CHECK(contains(error_of(sized(family, 1025, 1024, 4)), "1024 experts"));
    CHECK(error_of(sized(family, 1024, 1024, 4)).empty());
    CHECK(contains(error_of(sized(family, 65536, 2, 65536)), "65536 layers with 65536 heads each"));
  }
  // Layers that are none of the mixtures do not count.
  CHECK(error_of(with(sized("qwen3_moe", 2048, 1024, 4), "decoder_sparse_step", 2)).empty());
  CHECK(contains(error_of(sized("qwen3", 65536, 2, 65536)), "65536 heads"));
}

TEST_CASE("every key of a mixture may hold every kind of value") {
  const Json values[] = {nullptr, true, 0, -1, 1e300, UINT64_MAX, "", Json::object(), {1, {}}, {{{"a", 1}}}};
  for (const char* model : {"qwen3_moe_tiny", "mixtral_tiny", "qwen3_moe_pruned"}) {
    const Json base = read_hf_config(data_file("models") / model).source;
    for (const auto& [key, old] : base.items()) {
      for (const Json& value : values) {
        try {
          read(with(base, key, value));
        } catch (const InputError&) {
        }
      }
    }
  }
}

TEST_CASE("the layers of a pruned mixture are read and checked") {
  for (const char* family : {"qwen3_moe", "mixtral"}) {
    const std::int64_t widest = read(minimal(family)).mixture->expert_size;
    const auto of = [&](const Json& experts, std::int64_t columns) {
      return pruned(family, pruned_layer(experts, columns));
    };
    const HfConfig config = read(of({widest, 1, 3}, widest + 4));
    CHECK(config.model_type == family);
    CHECK(config.pruned());
    CHECK_FALSE(config.mixtral_names);
    CHECK(kinds(config) == "-m");
    CHECK(config.shape(1).experts == std::vector<std::int64_t>{widest, 1, 3});
    CHECK(config.shape(1).columns == widest + 4);
    CHECK(read(of(std::vector<std::int64_t>(6, 1), 6)).shape(1).columns == 6);
    CHECK(kinds(read(of(Json::array(), 0))) == "--");
    CHECK(read(of(Json::array(), 0)).shape(1).columns == 0);
    // A token goes to as many experts as are left.
    CHECK(read(of({5}, 5)).mixture->experts_per_token == 2);

    const std::pair<Json, std::int64_t> bad[] = {{{3, 4}, 8},                 // another sum
                                                 {{3, 4}, 0},                 // none
                                                 {Json::array(), 1},          // of no experts
                                                 {{widest + 1}, widest + 1},  // too wide
                                                 {{3, 0}, 3},                 // an expert that is gone
                                                 {{-3, 6}, 3},                // fewer than none
                                                 {std::vector<std::int64_t>(7, 1), 7},  // too many
                                                 {{"3"}, 3},
                                                 {{3.0}, 3},
                                                 {Json::array({Json::array({3})}), 3},
                                                 {Json::array({nullptr}), 0},
                                                 {3, 3},
                                                 {"3", 3},
                                                 {Json::object(), 0},
                                                 {true, 1}};
    for (const auto& [experts, columns] : bad) {
      CAPTURE(family, experts.dump(), columns);
      const std::string error = error_of(of(experts, columns));
      CHECK(contains(error, "pruned_layers 1"));
      CHECK(contains(error, "experts"));
    }
    CHECK(contains(error_of(of({3}, -1)), "intermediate_size"));
  }
}

TEST_CASE("a family without mixtures has no experts") {
  for (const char* family : {"llama", "qwen3"}) {
    for (const Json& experts : {Json::array({3}), Json::array(), Json(3), Json::object()}) {
      CAPTURE(family, experts.dump());
      const std::string error = error_of(pruned(family, pruned_layer(experts, 3)));
      CHECK(contains(error, "pruned_layers 1"));
      CHECK(contains(error, "experts"));
    }
    CHECK(error_of(pruned(family, pruned_layer(nullptr, 3))).empty());
    CHECK_FALSE(read(minimal(family)).mixture);
    CHECK(kinds(read(with(minimal(family), "num_local_experts", 4))) == "----");
  }
}

TEST_CASE("Mixtral's names are renamed both ways, others' stay") {
  const HfConfig mixtral = read(minimal("mixtral")), qwen = read(minimal("qwen3_moe"));
  const std::pair<std::string, std::string> names[] = {
      {"model.layers.3.block_sparse_moe.experts.7.w1.weight",
       "model.layers.3.mlp.experts.7.gate_proj.weight"},
      {"model.layers.3.block_sparse_moe.experts.7.w3.weight", "model.layers.3.mlp.experts.7.up_proj.weight"},
      {"model.layers.0.block_sparse_moe.experts.0.w2.weight",
       "model.layers.0.mlp.experts.0.down_proj.weight"},
      {"model.layers.12.block_sparse_moe.gate.weight", "model.layers.12.mlp.gate.weight"}};
  for (const auto& [stored, usual] : names) {
    CHECK(usual_expert_name(stored) == usual);
    CHECK(usual_expert_name(usual) == usual);
    CHECK(stored_expert_name(mixtral, usual) == stored);
    CHECK(stored_expert_name(qwen, usual) == usual);
  }
  for (const char* name :
       {"model.layers.3.self_attn.q_proj.weight", "model.embed_tokens.weight",
        "model.layers.3.post_attention_layernorm.weight", "lm_head.weight", "", "model.layers.3.w1.weight"}) {
    CHECK(usual_expert_name(name) == name);
    CHECK(stored_expert_name(mixtral, name) == name);
  }
}
