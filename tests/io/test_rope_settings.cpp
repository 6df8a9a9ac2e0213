#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <cmath>

#include <galapagos/core/error.hpp>
#include <galapagos/io/hf_config.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

struct Found {
  RopeSettings rope;
  std::string warning;  ///< the first
};

Found found(const Json& json) {
  std::vector<std::string> warnings;
  const RopeSettings rope = parse_hf_config(json, "config.json", &warnings).rope;
  return {rope, warnings.empty() ? "" : warnings[0]};
}

RopeSettings rope_of(const Json& json) {
  return found(json).rope;
}

std::string error_of(const Json& json) {
  return input_error([&] { parse_hf_config(json, "config.json"); });
}

Json minimal(const std::string& model_type) {
  return {{"model_type", model_type}, {"hidden_size", 64},      {"intermediate_size", 96},
          {"num_key_value_heads", 2}, {"num_hidden_layers", 2}, {"num_attention_heads", 4},
          {"vocab_size", 100},        {"head_dim", 16}};
}

Json with(Json json, const std::string& key, const Json& value) {
  json[key] = value;
  return json;
}

Json without(Json json, const std::string& key) {
  json.erase(key);
  return json;
}

const Json llama3_rope = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 8192}};

}  // namespace

TEST_CASE("rope settings of transformers 4") {
  const Json base = with(minimal("llama"), "rope_theta", 5e5);
  const auto scaled = [&](const Json& scaling) { return with(base, "rope_scaling", scaling); };
  const RopeSettings plain{.theta = 5e5, .short_factors = {}, .long_factors = {}};
  const RopeSettings expected{.kind = RopeKind::llama3,
                              .theta = 5e5,
                              .factor = 8,
                              .original_positions = 8192,
                              .short_factors = {},
                              .long_factors = {}};
  CHECK(rope_of(base) == plain);
  CHECK(rope_of(scaled(llama3_rope)) == expected);
  for (const Json& nothing : {Json(nullptr), Json(false), Json::object(), Json{{"rope_type", "default"}},
                              Json{{"type", "default"}}, Json{{"type", nullptr}}}) {
    CHECK(rope_of(scaled(nothing)) == plain);
  }
  CHECK(rope_of(scaled(with(without(llama3_rope, "rope_type"), "type", "llama3"))) == expected);
  for (const char* type : {"mrope", "su", "proportional", "Linear", ""}) {
    for (const char* key : {"type", "rope_type"}) {
      const std::string error = error_of(scaled({{key, type}, {"factor", 2.0}}));
      CHECK(contains(error, std::string("rope scaling of type '") + type + "'"));
      CHECK(contains(error, "default, linear, dynamic, yarn, longrope, llama3"));
    }
  }
  for (const char* key : {"factor", "low_freq_factor", "high_freq_factor"}) {
    CHECK(contains(error_of(scaled(without(llama3_rope, key))), key));
    CHECK(contains(error_of(scaled(with(llama3_rope, key, 0))), key));
    CHECK(contains(error_of(scaled(with(llama3_rope, key, "8"))), key));
  }
  CHECK(rope_of(scaled(without(llama3_rope, "original_max_position_embeddings"))).original_positions == 2048);
  CHECK(contains(error_of(scaled(with(llama3_rope, "factor", 0.5))), "below 1"));
  CHECK(contains(error_of(scaled(with(llama3_rope, "low_freq_factor", 4))), "not above"));
  CHECK(contains(error_of(scaled(3)), "object or null"));
  CHECK(contains(error_of(with(base, "rope_theta", -1)), "rope_theta"));
}

TEST_CASE("rope settings of transformers 5") {
  const Json base = minimal("llama");
  const RopeSettings scaled = rope_of(with(base, "rope_parameters", with(llama3_rope, "rope_theta", 5e5)));
  CHECK(scaled == RopeSettings{.kind = RopeKind::llama3,
                               .theta = 5e5,
                               .factor = 8,
                               .original_positions = 8192,
                               .short_factors = {},
                               .long_factors = {}});
  CHECK(rope_of(with(base, "rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}})) ==
        RopeSettings{.theta = 1e6, .short_factors = {}, .long_factors = {}});
  CHECK(rope_of(with(with(base, "rope_theta", 3e4), "rope_parameters", {{"rope_type", "default"}})).theta ==
        3e4);
  CHECK(contains(error_of(with(base, "rope_parameters", {{"full_attention", {{"rope_type", "default"}}}})),
                 "by layer type"));
}

TEST_CASE("where rope settings contradict each other, that of transformers 5 is taken, with a warning") {
  const Json base = minimal("llama");
  const auto both = [&](const Json& scaling, const Json& parameters, const Json& theta = nullptr) {
    return found(
        with(with(with(base, "rope_scaling", scaling), "rope_parameters", parameters), "rope_theta", theta));
  };
  const Found old = both({{"type", "default"}}, {{"rope_type", "default"}, {"rope_theta", 5e5}}, 1e4);
  CHECK(old.rope == RopeSettings{.theta = 1e4, .short_factors = {}, .long_factors = {}});
  CHECK(contains(old.warning, "rope_scaling"));
  CHECK(both(llama3_rope, {{"rope_theta", 1e6}}).rope.kind == RopeKind::llama3);
  CHECK(both(llama3_rope, {{"rope_theta", 1e6}}).rope.theta == 1e4);
  const Found inner = both(nullptr, {{"rope_theta", 1e6}}, 1e4);
  CHECK(inner.rope.theta == 1e6);
  CHECK(contains(inner.warning, "rope_theta"));
  CHECK(both(llama3_rope, with(llama3_rope, "rope_theta", 1e4), 1e4).warning.empty());
  CHECK(both({{"type", "linear"}, {"factor", 2}}, {{"rope_type", "linear"}, {"factor", 2}}).warning.empty());
}

TEST_CASE("rope scaling of each kind", "[rope]") {
  const Json base = with(minimal("llama"), "max_position_embeddings", 4096);
  const auto scaled = [&](const Json& scaling) { return with(base, "rope_scaling", scaling); };
  CHECK(rope_of(scaled({{"type", "linear"}, {"factor", 2}})) ==
        RopeSettings{
            .kind = RopeKind::linear, .theta = 1e4, .factor = 2, .short_factors = {}, .long_factors = {}});
  CHECK(rope_of(scaled({{"type", "dynamic"}, {"factor", 2}})).kind == RopeKind::dynamic);
  CHECK(contains(error_of(scaled({{"type", "linear"}})), "factor"));

  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
  const RopeSettings standard = rope_of(scaled(yarn));
  CHECK(standard.original_positions == 4096);
  CHECK(standard.attention_factor == 0.1 * std::log(4.0) + 1);
  CHECK(standard.beta_fast == 32);
  CHECK(standard.truncate);
  const RopeSettings changed = rope_of(scaled({{"rope_type", "yarn"},
                                               {"factor", nullptr},
                                               {"original_max_position_embeddings", 1024},
                                               {"mscale", 0.7},
                                               {"mscale_all_dim", 1.4},
                                               {"beta_fast", 20},
                                               {"beta_slow", 0},
                                               {"truncate", false}}));
  CHECK(changed.factor == 4);
  CHECK(std::abs(changed.attention_factor - (0.07 * std::log(4.0) + 1) / (0.14 * std::log(4.0) + 1)) < 1e-12);
  CHECK(changed.beta_fast == 20);
  CHECK(changed.beta_slow == 1);
  CHECK_FALSE(changed.truncate);
  CHECK(rope_of(scaled(with(yarn, "attention_factor", 1.5))).attention_factor == 1.5);
  CHECK(rope_of(with(scaled(yarn), "original_max_position_embeddings", 512)).original_positions == 512);

  const Json longrope = {{"type", "longrope"},
                         {"short_factor", {1, 1, 1, 1, 1, 1, 1, 1}},
                         {"long_factor", {1, 1, 2, 2, 3, 3, 4, 4}},
                         {"original_max_position_embeddings", 1024}};
  const RopeSettings by_length = rope_of(scaled(longrope));
  CHECK(by_length.depends_on_length());
  CHECK(by_length.factor == 4);
  CHECK(by_length.attention_factor == std::sqrt(1 + std::log(4.0) / std::log(1024.0)));
  CHECK(contains(error_of(scaled(with(longrope, "long_factor", {1, 2}))), "long_factor"));
  CHECK(contains(error_of(scaled(with(longrope, "short_factor", 3))), "short_factor"));
  CHECK(contains(error_of(scaled(without(longrope, "short_factor"))), "short_factor"));
}

TEST_CASE("a part of each head is turned only in families that do so", "[rope]") {
  const Found llama = found(with(minimal("llama"), "partial_rotary_factor", 0.5));
  CHECK(llama.rope.rotated_share == 1);
  CHECK(contains(llama.warning, "partial_rotary_factor"));
  CHECK(found(with(minimal("llama"), "partial_rotary_factor", 1.0)).warning.empty());
  CHECK(contains(error_of(with(with(minimal("llama"), "partial_rotary_factor", 0.5), "rope_scaling",
                               {{"type", "linear"}, {"factor", 2}})),
                 "partial_rotary_factor"));

  const Json phi = with(minimal("phi3"), "partial_rotary_factor", 0.75);
  CHECK(rope_of(phi).rotated_share == 0.75);
  CHECK(rope_of(phi).pairs(16) == 6);
  CHECK(rope_of(with(phi, "partial_rotary_factor", 0.7)).pairs(16) == 6);  // of 11 elements, rounded up
  CHECK(contains(error_of(with(phi, "partial_rotary_factor", 1.5)), "partial_rotary_factor"));
  CHECK(contains(error_of(with(phi, "partial_rotary_factor", 0.01)), "partial_rotary_factor"));
  const Json factors = {1, 1, 1, 1, 1, 2};
  for (const char* type : {"longrope", "su", "yarn"}) {
    const Json scaling = {{"type", type}, {"short_factor", factors}, {"long_factor", factors}};
    const RopeSettings rope = rope_of(with(phi, "rope_scaling", scaling));
    CHECK(rope.kind == RopeKind::longrope);
    CHECK(rope.original_positions == 4096);
    CHECK_FALSE(rope.depends_on_length());
  }
  CHECK(contains(error_of(with(phi, "rope_scaling", {{"type", "linear"}, {"factor", 2}})), "for phi3"));
}
