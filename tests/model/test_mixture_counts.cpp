// What mixtures of experts are counted to hold and to cost, and which of their columns a shard has.
#include "support/catch.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include <galapagos/model/cost.hpp>
#include <galapagos/model/model_weights.hpp>
#include <galapagos/model/parameter_slices.hpp>

using namespace galapagos;
using test::data_file;

namespace {

std::string model() {
  return GENERATE(as<std::string>(), "qwen3_moe_tiny", "qwen3_moe_odd", "mixtral_tiny", "qwen3_moe_pruned",
                  "mixtral_pruned");
}

ModelWeights weights_of(const Checkpoint& checkpoint, const HfConfig& config) {
  return load_model_weights(checkpoint_source(checkpoint, config, DType::f32, Device::cpu));
}

LayerShape mixture_of(std::vector<std::int64_t> experts) {
  LayerShape shape;
  shape.columns = std::accumulate(experts.begin(), experts.end(), std::int64_t{0});
  shape.experts = std::move(experts);
  return shape;
}

}  // namespace

TEST_CASE("the parameters of mixtures are as many as their weights' elements", "[mixture]") {
  const auto folder = data_file("models") / model();
  CAPTURE(folder);
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const ModelWeights weights = weights_of(checkpoint, config);
  const std::vector<NamedTensor> parameters = parameters_of(weights);
  std::int64_t elements = 0, stored = 0;
  std::set<std::string> names;
  for (const NamedTensor& parameter : parameters) {
    elements += parameter.tensor.elements();
    CHECK(names.insert(parameter.name).second);
  }
  for (const std::string& name : checkpoint.names()) {
    const auto& shape = checkpoint.entry(name).shape;
    stored += std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
    CHECK(names.contains(name));
  }
  CHECK(parameters_in_model(config) == elements);
  CHECK(stored == elements);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const FfnWeights& ffn = weights.layers[static_cast<std::size_t>(layer)].ffn;
    const LayerShape& shape = config.shape(layer);
    REQUIRE(ffn.experts.size() == shape.experts.size());
    CHECK(ffn.mixture() == shape.mixture());
    CHECK(ffn.columns == shape.columns);
    CHECK(ffn.present() == (shape.columns > 0));
    CHECK(ffn.router->empty() == !shape.mixture());
    CHECK(ffn.gate->empty() == (shape.mixture() || shape.columns == 0));
    for (std::size_t expert = 0; expert < shape.experts.size(); ++expert) {
      CHECK(ffn.experts[expert]->columns == shape.experts[expert]);
      CHECK(ffn.experts[expert]->down->shape == Shape{config.hidden_size, shape.experts[expert]});
    }
  }
}

TEST_CASE("shards' slices of a mixture are the whole, the router all shards' alike", "[mixture]") {
  const auto folder = data_file("models") / model();
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const ModelWeights weights = weights_of(checkpoint, config);
  const std::vector<NamedTensor> parameters = parameters_of(weights);
  const int shards = GENERATE(1, 2, 3, 5);
  CAPTURE(folder, shards);
  std::vector<std::int64_t> elements(parameters.size(), 0);
  for (int shard = 0; shard < shards; ++shard) {
    const ModelPart part = part_of_model(config, shard, shards);
    const std::vector<ParameterSlice> slices = parameter_slices(config, part);
    REQUIRE(slices.size() == parameters.size());
    std::int64_t own = 0;
    for (std::size_t i = 0; i < slices.size(); ++i) {
      CHECK(slices[i].name == parameters[i].name);
      CHECK(slices[i].whole == parameters[i].tensor.shape);
      CHECK(slices[i].slicing == parameters[i].slicing);
      const std::int64_t count = slices[i].shape().elements();
      if (slices[i].slicing == Slicing::none) CHECK(count == parameters[i].tensor.elements());
      if (slices[i].slicing != Slicing::none || shard == 0) elements[i] += count;
      if (slices[i].name.find("mlp.gate.") != std::string::npos) CHECK(slices[i].slicing == Slicing::none);
      own += count;
    }
    const ModelWeights loaded =
        load_model_weights(checkpoint_source(checkpoint, config, part, DType::f32, Device::cpu));
    std::int64_t held = 0;
    for (const NamedTensor& tensor : parameters_of(loaded)) held += tensor.tensor.elements();
    CHECK(held == own);
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    CAPTURE(parameters[i].name);
    CHECK(elements[i] == parameters[i].tensor.elements());
  }
}

TEST_CASE("columns of a mixture belong to experts one after the other", "[mixture]") {
  const LayerShape shape = mixture_of({24, 7, 1, 12});
  using Ranges = std::vector<Range>;
  CHECK(parts_of_experts(shape, {0, 44}) == Ranges{{0, 24}, {0, 7}, {0, 1}, {0, 12}});
  CHECK(parts_of_experts(shape, {0, 24}) == Ranges{{0, 24}, {0, 0}, {0, 0}, {0, 0}});
  CHECK(parts_of_experts(shape, {20, 31}) == Ranges{{20, 24}, {0, 7}, {0, 0}, {0, 0}});
  CHECK(parts_of_experts(shape, {26, 28}) == Ranges{{24, 24}, {2, 4}, {0, 0}, {0, 0}});
  CHECK(parts_of_experts(shape, {31, 33}) == Ranges{{24, 24}, {7, 7}, {0, 1}, {0, 1}});
  CHECK(parts_of_experts(shape, {44, 44}) == Ranges{{24, 24}, {7, 7}, {1, 1}, {12, 12}});
  CHECK(parts_of_experts(even_layer_shape(4, 2, 9), {0, 9}).empty());
  // Each shard's shape, whose columns add up.
  for (int shards = 1; shards <= 7; ++shards) {
    std::vector<std::int64_t> sums(4, 0);
    for (int shard = 0; shard < shards; ++shard) {
      LayerPart part;
      part.columns = {44 * shard / shards, 44 * (shard + 1) / shards};
      const LayerShape own = part_of_layer(shape, part);
      REQUIRE(own.experts.size() == 4);
      CHECK(own.columns == std::accumulate(own.experts.begin(), own.experts.end(), std::int64_t{0}));
      for (std::size_t expert = 0; expert < 4; ++expert) sums[expert] += own.experts[expert];
    }
    CHECK(sums == shape.experts);
  }
}

TEST_CASE("the operations of a mixture are those of the experts that a token goes to, and of the router",
          "[mixture]") {
  HfConfig config = read_hf_config(data_file("models/qwen3_moe_tiny"));  // 2 experts per token
  const auto hidden = static_cast<double>(config.hidden_size);
  // Equal experts: those of a feed-forward part as wide as two of them.
  CHECK(mixture_operations(config, mixture_of({24, 24, 24, 24, 24, 24})) ==
        Approx(ffn_operations(config, 48) + 2 * hidden * 6));
  // Others on the mean.
  CHECK(mixture_operations(config, mixture_of({24, 7, 1, 12})) ==
        Approx(6 * hidden * 44 * 2 / 4 + 2 * hidden * 4));
  CHECK(mixture_operations(config, mixture_of({9})) == Approx(6 * hidden * 9 + 2 * hidden));
  CHECK(layer_operations(config, config.shape(1), 10) ==
        Approx(attention_operations(config, 8, 2, 10) + mixture_operations(config, config.shape(1))));
  CHECK(layer_operations(config, config.shape(0), 10) ==
        Approx(attention_operations(config, 8, 2, 10) + ffn_operations(config, 48)));
  const HfConfig pruned = read_hf_config(data_file("models/qwen3_moe_pruned"));
  CHECK(layer_operations(pruned, pruned.shape(3), 10) == Approx(attention_operations(pruned, 4, 2, 10)));
}
