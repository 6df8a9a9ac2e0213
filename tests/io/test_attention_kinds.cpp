// In what layers of a model differ in their attention, by config.json, as transformers 5.24 computes it.
#include "input_error.hpp"
#include "support/catch.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/io/hf_config.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

Json minimal(const std::string& model_type, int layers, const Json& more = Json::object()) {
  Json json = {{"model_type", model_type}, {"hidden_size", 64},
               {"intermediate_size", 96},  {"num_hidden_layers", layers},
               {"num_attention_heads", 4}, {"num_key_value_heads", 2},
               {"head_dim", 16},           {"vocab_size", 100}};
  json.update(more);
  return json;
}

HfConfig read(const std::string& model_type, int layers, const Json& more = Json::object()) {
  return parse_hf_config(minimal(model_type, layers, more), "the test");
}

std::string error_of(const std::string& model_type, int layers, const Json& more) {
  return input_error([&] { read(model_type, layers, more); });
}

std::vector<std::int64_t> windows(const HfConfig& config) {
  std::vector<std::int64_t> found;
  for (std::int64_t layer = 0; layer < config.layers; ++layer)
    found.push_back(config.attention_kind(layer).window);
  return found;
}

/// 'u'sual, 'l'ocal or 'n'one of each layer.
std::string ropes(const HfConfig& config) {
  std::string found;
  for (std::int64_t layer = 0; layer < config.layers; ++layer)
    found += "uln"[static_cast<std::size_t>(config.attention_kind(layer).rope)];
  return found;
}

using Sizes = std::vector<std::int64_t>;
const Json mixed = {"full_attention", "sliding_attention", "full_attention"};

}  // namespace

TEST_CASE("windows of Mistral and Ministral") {
  CHECK(windows(read("mistral", 2)) == Sizes{4096, 4096});
  CHECK(windows(read("mistral", 2, {{"sliding_window", 7}})) == Sizes{7, 7});
  CHECK(read("mistral", 2, {{"sliding_window", nullptr}}).attention_kinds.empty());
  // transformers takes it for a Ministral then.
  CHECK(windows(read("mistral", 3, {{"sliding_window", 7}, {"layer_types", mixed}})) == Sizes{0, 7, 0});
  CHECK(windows(read("ministral", 3, {{"sliding_window", 7}, {"layer_types", mixed}})) == Sizes{0, 7, 0});
  CHECK(windows(read("ministral", 2, {{"sliding_window", 7}})) == Sizes{7, 7});
  CHECK(read("ministral", 2, {{"sliding_window", nullptr}}).attention_kinds.empty());
}

TEST_CASE("windows of Qwen that are switched on, and those that are not") {
  for (const char* type : {"qwen2", "qwen3"}) {
    CHECK(read(type, 3, {{"sliding_window", 7}, {"max_window_layers", 0}}).attention_kinds.empty());
    const Json on = {{"use_sliding_window", true}, {"sliding_window", 7}};
    Json some = on, typed = on;
    some["max_window_layers"] = 2;
    typed["layer_types"] = mixed;
    CHECK(read(type, 3, on).attention_kinds.empty());  // from layer 28 on
    CHECK(windows(read(type, 3, some)) == Sizes{0, 0, 7});
    CHECK(windows(read(type, 3, typed)) == Sizes{0, 7, 0});
    CHECK(contains(error_of(type, 3, {{"sliding_window", 7}, {"layer_types", mixed}}), "sliding_window"));
    CHECK(contains(error_of(type, 2, {{"layer_types", mixed}}), "layer_types"));
    CHECK(contains(error_of(type, 1, {{"layer_types", {"chunked_attention"}}}), "chunked_attention"));
  }
}

TEST_CASE("layers of SmolLM3 without rope") {
  CHECK(ropes(read("smollm3", 9)) == "uuunuuunu");
  CHECK(ropes(read("smollm3", 4, {{"no_rope_layer_interval", 2}})) == "unun");
  const Json layers = {{"no_rope_layers", {0, 1, 1, 1}}};
  CHECK(ropes(read("smollm3", 3, layers)) == "nuu");
  CHECK(contains(error_of("smollm3", 5, layers), "no_rope_layers"));
  const HfConfig windowed = read("smollm3", 4, {{"use_sliding_window", true}, {"sliding_window", 9}});
  CHECK(windows(windowed) == Sizes{0, 0, 0, 9});
  CHECK(windowed.tie_word_embeddings);
  CHECK(read("smollm3", 1).rope.theta == 2e6);
}

TEST_CASE("windows, ropes and scales of Gemma") {
  const HfConfig second = read("gemma2", 3);
  CHECK(windows(second) == Sizes{4096, 0, 4096});
  CHECK(ropes(second) == "uuu");
  CHECK(second.attention_cap == 50);
  CHECK(second.logit_cap == 30);
  CHECK(second.attention_scale == 1.0 / 16);
  CHECK(read("gemma2", 1, {{"attn_logit_softcapping", nullptr}}).attention_cap == 0);
  const HfConfig third = read("gemma3_text", 7, {{"query_pre_attn_scalar", 64}, {"sliding_window", 512}});
  CHECK(windows(third) == Sizes{512, 512, 512, 512, 512, 0, 512});
  CHECK(ropes(third) == "lllllul");
  CHECK(third.attention_scale == 1.0 / 8);
  CHECK(third.attention_cap == 0);
  CHECK(third.logit_cap == 0);
  CHECK(third.rope.theta == 1e6);
  CHECK(third.local_rope->theta == 1e4);
  CHECK(third.tie_word_embeddings);
  CHECK(windows(read("gemma3_text", 3, {{"sliding_window_pattern", 2}})) == Sizes{4096, 0, 4096});
  // Written by transformers 4, and by 5.
  const Json stretched = {{"factor", 8.0}, {"rope_type", "linear"}};
  const HfConfig old = read(
      "gemma3_text", 6, {{"rope_theta", 2e6}, {"rope_local_base_freq", 3e4}, {"rope_scaling", stretched}});
  const HfConfig now =
      read("gemma3_text", 6,
           {{"rope_parameters",
             {{"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 3e4}}},
              {"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 2e6}}}}}});
  CHECK(old.rope == now.rope);
  CHECK(old.local_rope == now.local_rope);
  CHECK(now.rope.kind == RopeKind::linear);
  CHECK(now.rope.theta == 2e6);
  CHECK(now.local_rope->theta == 3e4);
  const HfConfig first = read("gemma", 2);
  CHECK(first.attention_kinds.empty());
  CHECK(first.attention_scale == 0);
  CHECK(first.features.shifted_norms);
  CHECK(first.features.gelu);
  CHECK(first.features.scaled_embedding);
  CHECK_FALSE(first.features.post_norms);
  CHECK(contains(error_of("gemma2", 1, {{"hidden_activation", "relu"}}), "relu"));
  CHECK(contains(error_of("gemma3_text", 1, {{"use_bidirectional_attention", true}}), "bidirectional"));
  CHECK(contains(error_of("gemma3_text", 1, {{"attn_logit_softcapping", 50.0}}), "attn_logit_softcapping"));
}

TEST_CASE("families whose text is not computed are refused by name") {
  CHECK(contains(error_of("olmo2", 1, Json::object()), "q/k norm"));
  for (const char* type : {"gemma3n_text", "gemma4_text", "mistral4"})
    CHECK(contains(error_of(type, 1, Json::object()), type));
}

TEST_CASE("what an export says of its layers comes before the family's keys") {
  const Json own = {{"base_model_type", "mistral"},
                    {"sliding_window", nullptr},
                    {"layer_windows", {0, 5}},
                    {"layer_ropes", {"usual", "none"}},
                    {"pruned_layers", Json::array()}};
  Json json = minimal("galapagos", 2, own);
  for (int layer = 0; layer < 2; ++layer)
    json["pruned_layers"].push_back(
        {{"kv_of_head", {0, 1}}, {"num_key_value_heads", 2}, {"intermediate_size", 10}});
  const HfConfig config = parse_hf_config(json, "the test");
  CHECK(windows(config) == Sizes{0, 5});
  CHECK(ropes(config) == "un");
  json["layer_windows"] = {0, 5, 0};
  CHECK(contains(input_error([&] { parse_hf_config(json, "the test"); }), "layer_windows"));
  json["layer_windows"] = {0, 5};
  json["layer_ropes"] = {"usual", "other"};
  CHECK(contains(input_error([&] { parse_hf_config(json, "the test"); }), "layer_ropes"));
}
