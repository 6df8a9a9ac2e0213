#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <omp.h>
#include <set>

#include <galapagos/core/random.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/training/random_weights.hpp>

using namespace galapagos;

namespace {

HfConfig config_of(const std::string& model) {
  return read_hf_config(test::data_file("models/" + model));
}

bool is_vector(const NamedTensor& parameter) {
  return parameter.tensor.shape.rank() == 1;
}

}  // namespace

TEST_CASE("random weights have the shapes of the model, norms 1, biases 0 and normal matrices",
          "[random_weights]") {
  for (const std::string name :
       {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "llama3_tiny", "gemma3_tiny"}) {
    HfConfig config = config_of(name);
    config.source["initializer_range"] = 0.05;
    const ModelWeights weights = load_model_weights(random_source(config, DType::f32, Device::cpu, 3));
    const test::SmallModel stored(name);
    const std::vector<NamedTensor> found = parameters_of(weights), expected = parameters_of(stored.weights);
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO(name << ' ' << found[i].name);
      CHECK(found[i].name == expected[i].name);
      CHECK(found[i].tensor.shape == expected[i].tensor.shape);
      const std::vector<float> values = test::values_of(found[i].tensor);
      const auto count = static_cast<double>(values.size());
      double sum = 0, squares = 0, fourth = 0;
      for (const float value : values) {
        sum += value;
        squares += static_cast<double>(value) * value;
        fourth += std::pow(static_cast<double>(value), 4);
      }
      if (is_vector(found[i])) {
        const bool zero = found[i].name.find("bias") != std::string::npos || config.features.shifted_norms;
        const float constant = zero ? 0 : 1;
        CHECK(values == std::vector<float>(values.size(), constant));
        continue;
      }
      // Five deviations of what the mean, the variance and the kurtosis of as many normal numbers are.
      const double variance = squares / count;
      CHECK(std::abs(sum / count) < 5 * 0.05 / std::sqrt(count));
      CHECK(std::abs(variance / (0.05 * 0.05) - 1) < 5 * std::sqrt(2 / count));
      CHECK(std::abs(fourth / count / (variance * variance) - 3) < 5 * std::sqrt(24 / count));
    }
  }
}

TEST_CASE("random weights are a function of the seed and the tensor alone", "[random_weights]") {
  const HfConfig config = config_of("llama3_tiny");
  const auto weights_of = [&](std::uint64_t seed, DType precision = DType::f32) {
    return load_model_weights(random_source(config, precision, Device::cpu, seed));
  };
  const ModelWeights one = weights_of(1), again = weights_of(1), two = weights_of(2),
                     narrow = weights_of(1, DType::bf16);
  std::set<std::vector<float>> seen;
  std::size_t matrices = 0;
  for (std::size_t i = 0; i < parameters_of(one).size(); ++i) {
    const NamedTensor parameter = parameters_of(one)[i];
    const std::vector<float> values = test::values_of(parameter.tensor);
    CHECK(test::values_of(parameters_of(again)[i].tensor) == values);
    if (is_vector(parameter)) continue;
    CHECK(test::values_of(parameters_of(two)[i].tensor) != values);
    const OwnedTensor rounded(parameter.tensor.shape, DType::bf16, Device::cpu, "test");
    convert_from_float(values, DType::bf16, rounded->data);
    CHECK(test::values_of(parameters_of(narrow)[i].tensor) == test::values_of(rounded));
    seen.insert({values.begin(), values.begin() + 16});
    ++matrices;
  }
  CHECK(seen.size() == matrices);  // no two tensors begin alike
}

TEST_CASE("random weights are the same with any number of threads, and a slice's those of the whole",
          "[random_weights]") {
  HfConfig config = config_of("llama3_tiny");
  const auto weights_of = [&](int threads, int shard, int shards) {
    const ops::Context context(Device::cpu, threads);  // sets their number
    return load_model_weights(
        random_source(config, part_of_model(config, shard, shards), DType::f32, Device::cpu, 5));
  };
  const int usual = omp_get_max_threads();
  const ModelWeights one = weights_of(1, 0, 1), three = weights_of(3, 0, 1), second = weights_of(3, 1, 2);
  omp_set_num_threads(usual);
  for (std::size_t i = 0; i < parameters_of(one).size(); ++i) {
    INFO(parameters_of(one)[i].name);
    CHECK(test::values_of(parameters_of(three)[i].tensor) == test::values_of(parameters_of(one)[i].tensor));
  }
  const Tensor &whole = one.layers[0].ffn.down, &slice = second.layers[0].ffn.down;
  REQUIRE(slice.columns() > 0);
  const std::int64_t first = whole.columns() - slice.columns();
  for (std::int64_t row = 0; row < whole.rows(); ++row) {
    const std::span<float> some = slice.float_span().subspan(static_cast<std::size_t>(row * slice.columns()),
                                                             static_cast<std::size_t>(slice.columns()));
    CHECK(std::ranges::equal(
        some,
        whole.float_span().subspan(static_cast<std::size_t>(row * whole.columns() + first), some.size())));
  }
}

TEST_CASE("random weights are those of the definition, element by element", "[random_weights]") {
  HfConfig config = config_of("llama3_tiny");
  config.source["initializer_range"] = 0.05;
  const ModelWeights weights = load_model_weights(random_source(config, DType::f32, Device::cpu, 7));
  RandomStream random(7, {7, 0, 0, 17});  // of the embedding, the eighth of the kinds of tensors
  const auto uniform = [&] { return (static_cast<double>(random.next()) + 0.5) / 4294967296.0; };
  const std::vector<float> values = test::values_of(weights.embedding);
  REQUIRE(values.size() > (1 << 14));  // several pieces
  std::vector<float> expected;
  while (expected.size() < values.size()) {
    const double radius = 0.05 * std::sqrt(-2 * std::log(uniform())),
                 angle = 2 * std::numbers::pi * uniform();
    expected.push_back(static_cast<float>(radius * std::cos(angle)));
    expected.push_back(static_cast<float>(radius * std::sin(angle)));
  }
  CHECK(values == expected);
}

TEST_CASE("without initializer_range the deviation is that of transformers", "[random_weights]") {
  HfConfig config = config_of("llama3_tiny");
  config.source.erase("initializer_range");
  const ModelWeights weights = load_model_weights(random_source(config, DType::f32, Device::cpu, 0));
  double squares = 0;
  const std::vector<float> values = test::values_of(weights.embedding);
  for (const float value : values) squares += static_cast<double>(value) * value;
  CHECK(std::sqrt(squares / static_cast<double>(values.size())) == Approx(0.02).epsilon(0.03));
}
