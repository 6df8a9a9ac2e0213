#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/export/export_format.hpp>

using namespace galapagos;

namespace {

Json config_of(const HfConfig& parent, const std::vector<LayerShape>& shapes) {
  return export_format_of("family").config(parent, shapes);
}

HfConfig model(const char* name) {
  return read_hf_config(test::data_file(std::string("models/") + name));
}

/// What is said of shapes that the family's own class cannot hold.
std::string refusal(const HfConfig& parent, const std::vector<LayerShape>& shapes) {
  try {
    config_of(parent, shapes);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "taken";
}

}  // namespace

TEST_CASE("layers that are alike are described as the family does", "[export]") {
  const HfConfig qwen = model("qwen3_moe_tiny"), mixtral = model("mixtral_tiny"),
                 llama = model("llama3_tiny");
  std::vector<LayerShape> shapes;
  for (const LayerShape& shape : qwen.layer_shapes)
    shapes.push_back(shape.mixture() ? even_mixture_shape(4, 2, 1, 7) : even_layer_shape(4, 2, 20));
  const Json pruned = config_of(qwen, shapes);
  const HfConfig read = parse_hf_config(pruned, "test");
  CHECK(read.layer_shapes == shapes);
  CHECK(read.mixture->experts_per_token == 1);  // of two, as one is left
  CHECK(!read.pruned());
  CHECK(read.head_dim == qwen.head_dim);
  const std::vector<LayerShape> of_mixtral(mixtral.layer_shapes.size(), even_mixture_shape(2, 1, 3, 9));
  CHECK(parse_hf_config(config_of(mixtral, of_mixtral), "test").layer_shapes == of_mixtral);
  const std::vector<LayerShape> of_llama(llama.layer_shapes.size(), even_layer_shape(6, 2, 30));
  CHECK(parse_hf_config(config_of(llama, of_llama), "test").layer_shapes == of_llama);
}

TEST_CASE("layers that are not alike are refused by the first of them", "[export]") {
  const HfConfig parent = model("qwen3_moe_tiny");
  const auto with = [&](const auto& change) {
    std::vector<LayerShape> shapes = parent.layer_shapes;
    change(shapes);
    return refusal(parent, shapes);
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(with([](auto& shapes) { shapes[2].experts.back() -= 1; }),
             Contains("layer 2 has 23 columns in an expert where another has 24"));
  CHECK_THAT(with([](auto& shapes) { shapes[3].experts.pop_back(); }),
             Contains("layer 3 has 5 experts where another has 6"));
  CHECK_THAT(with([](auto& shapes) { shapes[1].experts.clear(), shapes[1].columns = 0; }),
             Contains("layer 1 has no feed-forward part"));
  CHECK_THAT(with([](auto& shapes) { shapes[3].kv_of_head.clear(), shapes[3].kv_heads = 0; }),
             Contains("layer 3 has no attention"));
  CHECK_THAT(with([](auto& shapes) { shapes[0].kv_of_head.erase(shapes[0].kv_of_head.begin()); }),
             Contains("layer 0 has KV heads with different numbers of query heads"));
  CHECK_THAT(with([](auto& shapes) {
               shapes[1].kv_of_head = {0, 0, 1, 1};
             }),
             Contains("layer 1 has 4 query heads where another has 8"));
  CHECK(with([](auto&) {}) == "taken");
}
