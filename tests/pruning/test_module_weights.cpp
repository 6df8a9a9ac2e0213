#include "ops/devices.hpp"
#include "pruning/module_weights.hpp"
#include "support/files.hpp"

#include <galapagos/core/error.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t hidden = 70, columns = 45;

/// Three layers, of which the file holds two.
HfConfig small_config() {
  HfConfig config;
  config.hidden_size = hidden;
  config.layers = 3;
  config.heads = config.kv_heads = 1;
  config.head_dim = 8;
  config.intermediate_size = columns;
  config.layer_shapes.assign(3, even_layer_shape(1, 1, columns));
  return config;
}

std::vector<std::byte> stored_values(DType type, unsigned seed) {
  std::mt19937 random(seed);
  const OwnedTensor values = test::random_tensor({hidden, columns}, random);
  std::vector<std::byte> words(static_cast<std::size_t>(hidden * columns) * size_of(type));
  convert_from_float(values->float_span(), type, words.data());
  return words;
}

ModuleId down_of(std::int64_t layer) {
  return {layer, ModuleKind::ffn};
}

}  // namespace

TEST_CASE("a module's weight is the checkpoint's, transposed, read ahead or not", "[obs][module_weights]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const HfConfig config = small_config();
  for (const auto& [type, spelling] :
       {std::pair{DType::f32, "F32"}, {DType::bf16, "BF16"}, {DType::f16, "F16"}}) {
    const test::TemporaryFolder folder;
    const std::array words = {stored_values(type, 1), stored_values(type, 2)};
    std::vector<TensorEntry> tensors;
    for (std::int64_t layer = 0; layer < 2; ++layer)
      tensors.push_back({name_of(down_of(layer)) + ".weight",
                         spelling,
                         {hidden, columns},
                         words[static_cast<std::size_t>(layer)]});
    write_safetensors(folder / "model.safetensors", tensors);
    const Checkpoint checkpoint(folder.path());
    ModuleWeights weights(context, checkpoint, config);
    const auto right = [&](std::int64_t layer) {
      std::vector<float> wanted(static_cast<std::size_t>(hidden * columns));
      convert_to_float(type, words[static_cast<std::size_t>(layer)].data(), wanted);
      const OwnedTensor weight = weights.transposed(down_of(layer));
      const std::vector<float> found = test::read(weight);
      std::size_t different = weight->shape == Shape{columns, hidden} && weight->dtype == DType::f32 ? 0 : 1;
      for (std::int64_t i = 0; i < hidden; ++i) {
        for (std::int64_t j = 0; j < columns; ++j)
          different += found[static_cast<std::size_t>(j * hidden + i)] !=
                               wanted[static_cast<std::size_t>(i * columns + j)]
                           ? 1u
                           : 0u;
      }
      return different == 0;
    };
    CHECK(right(0));
    weights.read_ahead(down_of(1));
    CHECK(right(1));
    weights.read_ahead(down_of(1));
    weights.read_ahead(down_of(0));
    CHECK(right(0));
    CHECK(right(0));
    weights.read_ahead(down_of(0));
    CHECK(right(1));  // another than was announced
    weights.read_ahead(down_of(2));
    CHECK_THROWS_AS(weights.transposed(down_of(2)), InputError);
    CHECK(right(1));
    weights.read_ahead(down_of(0));  // and never asked for
  }
}
