#include "ops/devices.hpp"

#include <cmath>
#include <numbers>

#include <galapagos/ops/soft_cap.hpp>
#include <galapagos/ops/transformer.hpp>

using namespace galapagos;
using test::on;
using test::poisoned_on;
using test::random_tensor;
using test::read;
using test::values_of;

namespace {

// Attention as it is defined, in fp64, with all scores of a row at once.
double attention_error(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t head_dim,
                       const std::vector<std::int32_t>& kv_of_head, const std::vector<std::int64_t>& offsets,
                       const Tensor& out, const ops::AttentionRule& rule = {}) {
  double worst = 0;
  const double scale =
      rule.scale == 0 ? 1 / std::sqrt(static_cast<double>(head_dim)) : static_cast<double>(rule.scale);
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (std::size_t head = 0; head < kv_of_head.size(); ++head) {
      const auto h = static_cast<std::int64_t>(head);
      for (std::int64_t i = offsets[s]; i < offsets[s + 1]; ++i) {
        std::vector<double> weights;
        double sum = 0;
        const std::int64_t seen = rule.window == 0 ? offsets[s] : std::max(offsets[s], i + 1 - rule.window);
        for (std::int64_t j = seen; j <= i; ++j) {
          double score = 0;
          for (std::int64_t d = 0; d < head_dim; ++d) {
            score += static_cast<double>(q.floats()[i * q.columns() + h * head_dim + d]) *
                     k.floats()[j * k.columns() + kv_of_head[head] * head_dim + d];
          }
          score *= scale;
          if (rule.cap != 0)
            score = static_cast<double>(rule.cap) * std::tanh(score / static_cast<double>(rule.cap));
          weights.push_back(std::exp(score));
          sum += weights.back();
        }
        for (std::int64_t d = 0; d < head_dim; ++d) {
          double expected = 0;
          for (std::int64_t j = seen; j <= i; ++j) {
            expected += weights[static_cast<std::size_t>(j - seen)] / sum *
                        v.floats()[j * v.columns() + kv_of_head[head] * head_dim + d];
          }
          const double error = std::abs(expected - out.floats()[i * out.columns() + h * head_dim + d]);
          worst = std::isnan(error) ? INFINITY : std::max(worst, error);
        }
      }
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("attention for any map of heads and any lengths", "[ops]") {
  struct Case {
    std::int64_t head_dim, kv_heads;
    std::vector<std::int32_t> kv_of_head;
    std::vector<std::int64_t> offsets;
  };
  const Case cases[] = {{8, 2, {0, 0, 1, 1}, {0, 5}},
                        {16, 3, {2, 0, 0, 2, 1}, {0, 1, 70, 70, 200}},
                        {4, 1, {0}, {0, 300}},
                        {64, 2, {1}, {0, 64, 128, 129}},
                        {8, 2, {}, {0, 10}},
                        {10, 2, {0, 1}, {0, 257}},
                        {128, 4, {3, 3, 3, 0, 1}, {0, 40, 41}},
                        {7, 1, {0}, {0, 33}},
                        {260, 1, {0, 0}, {0, 9}}};
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(7);
  for (const Case& test : cases) {
    const std::int64_t tokens = test.offsets.back(),
                       q_width = static_cast<std::int64_t>(test.kv_of_head.size()) * test.head_dim;
    const OwnedTensor q = random_tensor({tokens, q_width}, random, DType::f32, 2);
    const OwnedTensor k = random_tensor({tokens, test.kv_heads * test.head_dim}, random, DType::f32, 2);
    const OwnedTensor v = random_tensor({tokens, test.kv_heads * test.head_dim}, random);
    const OwnedTensor out = poisoned_on(device, {tokens, q_width});
    ops::attention(ops::Context(device), on(device, q), on(device, k), on(device, v), test.head_dim,
                   test.kv_of_head, test.offsets, out);
    CHECK(attention_error(q, k, v, test.head_dim, test.kv_of_head, test.offsets, on(Device::cpu, out)) <
          2e-5);
  }
}

TEST_CASE("attention with windows, scales and caps", "[ops]") {
  // Windows of a key, about a block's queries and keys, a multiple of neither, one less than a sequence, and
  // as long as the longest.
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(17);
  const std::int64_t head_dim = 6;
  const std::vector<std::int64_t> offsets = {0, 1, 130, 400, 405};
  const std::vector<std::int32_t> kv_of_head = {1, 0, 1};
  const OwnedTensor q = random_tensor({405, 3 * head_dim}, random, DType::f32, 3);
  const OwnedTensor k = random_tensor({405, 2 * head_dim}, random, DType::f32, 3);
  const OwnedTensor v = random_tensor({405, 2 * head_dim}, random);
  for (const ops::AttentionRule& rule : {ops::AttentionRule{1},
                                         {2},
                                         {5},
                                         {63},
                                         {64},
                                         {65},
                                         {128},
                                         {129},
                                         {193},
                                         {269},
                                         {270},
                                         {1000},
                                         {0, 0.7f},
                                         {0, 0, 2.5f},
                                         {31, 0.3f, 1.5f},
                                         {0, 3.0f, 50}}) {
    const OwnedTensor out = poisoned_on(device, {405, 3 * head_dim});
    ops::attention(ops::Context(device), on(device, q), on(device, k), on(device, v), head_dim, kv_of_head,
                   offsets, out, {}, rule);
    INFO("window " << rule.window << ", scale " << rule.scale << ", cap " << rule.cap);
    CHECK(attention_error(q, k, v, head_dim, kv_of_head, offsets, on(Device::cpu, out), rule) < 2e-5);
  }
}

TEST_CASE("a cap on values", "[ops]") {
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(18);
  const OwnedTensor x = random_tensor({3, 333}, random, DType::f32, 60);
  const OwnedTensor there = on(device, x);
  ops::soft_cap(ops::Context(device), there, 30);
  const std::vector<float> capped = read(there);
  for (std::size_t i = 0; i < capped.size(); ++i)
    REQUIRE(capped[i] == Approx(30 * std::tanh(static_cast<double>(x->floats()[i]) / 30)).epsilon(1e-6));
}

TEST_CASE("norm, gate and embedding", "[ops]") {
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(8);
  const ops::Context context(device);
  for (const std::int64_t hidden : {1, 7, 64, 333}) {
    const OwnedTensor x = random_tensor({5, hidden}, random),
                      weight = random_tensor({hidden}, random, DType::bf16);
    const std::vector<float> scale = values_of(weight);
    const OwnedTensor out_there = poisoned_on(device, {5, hidden});
    ops::rms_norm(context, on(device, x), on(device, weight), 1e-5f, out_there);
    const OwnedTensor out = on(Device::cpu, out_there);
    for (std::int64_t row = 0; row < 5; ++row) {
      double squares = 0;
      for (std::int64_t i = 0; i < hidden; ++i) squares += std::pow(x->floats()[row * hidden + i], 2.0);
      for (std::int64_t i = 0; i < hidden; ++i) {
        const double expected = x->floats()[row * hidden + i] /
                                std::sqrt(squares / static_cast<double>(hidden) + 1e-5) *
                                scale[static_cast<std::size_t>(i)];
        REQUIRE(out->floats()[row * hidden + i] == Approx(expected).epsilon(1e-5).margin(1e-7));
      }
    }
    const OwnedTensor shifted_there = poisoned_on(device, {5, hidden});
    ops::rms_norm(context, on(device, x), on(device, weight), {1e-5f, 1}, shifted_there);
    const std::vector<float> shifted = read(shifted_there);
    for (std::size_t i = 0; i < shifted.size(); ++i) {
      // By the weight, as above, and once more by 1.
      const double w = static_cast<double>(scale[i % static_cast<std::size_t>(hidden)]);
      if (std::abs(w) < 0.05) continue;
      REQUIRE(shifted[i] == Approx(out->floats()[i] / w * (1 + w)).epsilon(1e-5).margin(1e-6));
    }
    const OwnedTensor gate = random_tensor({5, hidden}, random, DType::f32, 30),
                      up = random_tensor({5, hidden}, random);
    const std::vector<float> before = values_of(gate);
    const OwnedTensor gate_before = on(Device::cpu, gate);
    const OwnedTensor gate_there = on(device, gate);
    ops::swiglu(context, gate_there, on(device, up), gate_there);
    const std::vector<float> gated = read(gate_there);
    for (std::size_t i = 0; i < before.size(); ++i) {
      const double g = before[i];
      REQUIRE(gated[i] == Approx(g / (1 + std::exp(-g)) * up->floats()[i]).epsilon(1e-5).margin(1e-10));
    }
    const OwnedTensor gelu_there = on(device, gate_before);
    ops::swiglu(context, gelu_there, on(device, up), gelu_there, ops::GateKind::gelu_tanh);
    const std::vector<float> gelu = read(gelu_there);
    for (std::size_t i = 0; i < before.size(); ++i) {
      const double g = static_cast<double>(before[i]);
      const double share = (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g))) / 2;
      REQUIRE(gelu[i] == Approx(g * share * static_cast<double>(up->floats()[i])).epsilon(1e-4).margin(1e-6));
    }
    const OwnedTensor table = random_tensor({9, hidden}, random, DType::f16);
    const std::vector<float> rows = values_of(table);
    const std::vector<std::int32_t> tokens = {8, 0, 3};
    const OwnedTensor embedded_there = poisoned_on(device, {3, hidden});
    ops::embed(context, tokens, on(device, table), embedded_there);
    const OwnedTensor embedded = on(Device::cpu, embedded_there);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      for (std::int64_t i = 0; i < hidden; ++i) {
        REQUIRE(embedded->floats()[static_cast<std::int64_t>(t) * hidden + i] ==
                rows[static_cast<std::size_t>(tokens[t] * hidden + i)]);
      }
    }
  }
}

TEST_CASE("rotary embedding turns pairs by position within each sequence", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const auto [head_dim, scale] = GENERATE(table<std::int64_t, float>({{6, 1.0f}, {6, 1.25f}, {11, 0.8f}}));
  std::mt19937 random(9);
  const std::int64_t heads = 3;
  const std::vector<std::int64_t> offsets = {0, 4, 9};
  const OwnedTensor there = on(device, random_tensor({9, heads * head_dim}, random));
  const std::vector<float> before = read(there);
  OwnedTensor frequencies({3}, DType::f32, Device::cpu, "test");
  for (std::int64_t i = 0; i < 3; ++i) frequencies->floats()[i] = std::pow(0.3f, static_cast<float>(i));
  ops::rope(ops::Context(device), there, {}, head_dim, on(device, frequencies), offsets, scale);
  const OwnedTensor x = on(Device::cpu, there);
  for (std::int64_t row = 0; row < 9; ++row) {
    const double position = static_cast<double>(row < 4 ? row : row - 4);
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t i = 0; i < 3; ++i) {
        const std::int64_t at = row * heads * head_dim + head * head_dim + i;
        const double angle = position * frequencies->floats()[i];
        const double a = before[static_cast<std::size_t>(at)], b = before[static_cast<std::size_t>(at + 3)];
        REQUIRE(x->floats()[at] == Approx(scale * (a * std::cos(angle) - b * std::sin(angle))).margin(1e-6));
        REQUIRE(x->floats()[at + 3] ==
                Approx(scale * (b * std::cos(angle) + a * std::sin(angle))).margin(1e-6));
      }
      for (std::int64_t i = 6; i < head_dim; ++i) {  // behind what turns
        const std::int64_t at = row * heads * head_dim + head * head_dim + i;
        REQUIRE(x->floats()[at] == before[static_cast<std::size_t>(at)]);
      }
    }
  }
}

TEST_CASE("negative log-likelihood, also of huge and tiny logits", "[ops]") {
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(10);
  for (const float scale : {1.0f, 30.0f, 1e4f}) {
    const OwnedTensor logits = random_tensor({4, 777}, random, DType::f32, scale);
    const std::vector<std::int32_t> targets = {0, 776, 5, 400};
    std::vector<double> nll(4);
    ops::token_nll(ops::Context(device), on(device, logits), targets, nll);
    for (std::size_t row = 0; row < 4; ++row) {
      const float* values = logits->floats() + row * 777;
      double largest = values[0], sum = 0;
      for (int i = 0; i < 777; ++i) largest = std::max(largest, static_cast<double>(values[i]));
      for (int i = 0; i < 777; ++i) sum += std::exp(values[i] - largest);
      CHECK(nll[row] == Approx(std::log(sum) + largest - values[targets[row]]).epsilon(1e-6));
    }
  }
}

TEST_CASE("NaN and infinity are found wherever they are", "[ops]") {
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(11);
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    const OwnedTensor x = random_tensor({3, 50000}, random, type);
    CHECK(ops::all_finite(ops::Context(device), on(device, x)));
    const float bad = type == DType::bf16 ? INFINITY : NAN;
    convert_from_float({&bad, 1}, type, x->data + x->bytes() - size_of(type));
    CHECK(!ops::all_finite(ops::Context(device), on(device, x)));
  }
}
