#include "ops/devices.hpp"

#include <numeric>

#include <galapagos/model/forward.hpp>
#include <galapagos/pruning/pruned_module.hpp>

using namespace galapagos;
using test::on;
using test::random_tensor;
using test::read;

TEST_CASE("columns are padded to whole granules where there are many, and never beyond the dense part",
          "[pruned_module]") {
  CHECK(padded_columns(0, 352) == 0);
  CHECK(padded_columns(127, 352) == 127);
  CHECK(padded_columns(128, 352) == 128);
  CHECK(padded_columns(129, 352) == 160);
  CHECK(padded_columns(5503, 11008) == 5504);
  CHECK(padded_columns(170, 176) == 176);
  CHECK(padded_columns(170, 175) == 175);
  CHECK(padded_columns(175, 175) == 175);
}

TEST_CASE("a feed-forward part gives the same with columns of zeros behind those kept", "[pruned_module]") {
  const Device device = GENERATE_DEVICE();
  const DType stored = GENERATE(DType::f32, DType::bf16);
  const std::int64_t hidden = 24, columns = 200, tokens = 7;
  std::mt19937 random(5);
  HfConfig config;
  config.hidden_size = hidden;
  config.intermediate_size = columns;
  config.heads = config.kv_heads = 1;
  config.head_dim = 24;
  config.rms_norm_eps = 1e-5;
  config.rope.theta = 1e4;
  const ops::Context context(device);
  FfnWeights dense;
  dense.columns = columns;
  dense.norm = on(device, random_tensor({hidden}, random));
  dense.gate = on(device, random_tensor({columns, hidden}, random));
  dense.up = on(device, random_tensor({columns, hidden}, random));
  std::vector<std::int64_t> kept(static_cast<std::size_t>(columns));
  std::iota(kept.begin(), kept.end(), 0);
  std::shuffle(kept.begin(), kept.end(), random);
  kept.resize(131);
  std::sort(kept.begin(), kept.end());
  const OwnedTensor level = random_tensor({std::ssize(kept), hidden}, random, stored);
  const OwnedTensor x = random_tensor({tokens, hidden}, random);
  const auto output = [&](std::int64_t width) {
    const std::span<const std::byte> words(level->data, level->bytes());
    OwnedTensor down = level_weight(context, words, stored, DType::f32, std::ssize(kept), width, hidden);
    const FfnWeights pruned = prune_ffn(context, dense, kept, std::move(down));
    CHECK(pruned.columns == width);
    CHECK(pruned.gate->rows() == width);
    CHECK(pruned.up->rows() == width);
    for (const OwnedTensor* weight : {&pruned.gate, &pruned.up}) {
      const std::vector<float> values = read(*weight);
      CHECK(std::all_of(values.begin() + std::ssize(kept) * hidden, values.end(),
                        [](float value) { return value == 0; }));
    }
    OwnedTensor out = on(device, x);
    LayerForward(context, config, tokens).feed_forward(pruned, out);
    return read(out);
  };
  const std::vector<float> plain = output(std::ssize(kept));
  CHECK(test::relative_error(plain, read(x)) > 0.1);
  CHECK(test::relative_error(output(padded_columns(std::ssize(kept), columns)), plain) < 1e-6);
}
