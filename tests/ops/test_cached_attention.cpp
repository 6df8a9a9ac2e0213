#include "devices.hpp"

#include <cmath>
#include <random>

#include <galapagos/ops/cached_attention.hpp>
#include <galapagos/ops/transformer.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

struct Text {
  std::int64_t place, start, rows;
};

struct Case {
  std::int64_t head_dim, kv_heads;
  std::vector<std::int32_t> kv_of_head;
  std::vector<Text> texts;
  ops::AttentionRule rule = {};
};

/// What a case's rows are for the operations.
struct Rows {
  std::vector<std::int64_t> offsets = {0}, starts, places;

  explicit Rows(const std::vector<Text>& texts) {
    for (const Text& text : texts) {
      offsets.push_back(offsets.back() + text.rows);
      starts.push_back(text.start);
      places.push_back(text.place);
    }
  }
  operator ops::CachedRows() const { return {offsets, starts, places}; }  // NOLINT
};

/// The largest difference of `out` from attention as it is defined, in fp64.
double error_of(const Case& test, const Tensor& q, const Tensor& keys, const Tensor& values,
                const std::vector<float>& out) {
  double worst = 0;
  const std::int64_t d = test.head_dim, heads = std::ssize(test.kv_of_head), capacity = keys.shape[1];
  const double scale =
      test.rule.scale == 0 ? 1 / std::sqrt(static_cast<double>(d)) : static_cast<double>(test.rule.scale);
  std::int64_t row = 0;
  for (const Text& text : test.texts) {
    for (std::int64_t i = 0; i < text.rows; ++i, ++row) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t kv = text.place * test.kv_heads + test.kv_of_head[static_cast<std::size_t>(head)];
        const std::int64_t position = text.start + i;
        const std::int64_t seen =
            test.rule.window == 0 ? 0 : std::max<std::int64_t>(0, position + 1 - test.rule.window);
        std::vector<double> weights;
        double sum = 0;
        for (std::int64_t key = seen; key <= position; ++key) {
          double score = 0;
          for (std::int64_t c = 0; c < d; ++c)
            score += static_cast<double>(q.floats()[row * heads * d + head * d + c]) *
                     keys.floats()[(kv * capacity + key) * d + c];
          score *= scale;
          const auto cap = static_cast<double>(test.rule.cap);
          if (cap != 0) score = cap * std::tanh(score / cap);
          weights.push_back(std::exp(score));
          sum += weights.back();
        }
        for (std::int64_t c = 0; c < d; ++c) {
          double expected = 0;
          for (std::int64_t key = seen; key <= position; ++key)
            expected += weights[static_cast<std::size_t>(key - seen)] / sum *
                        values.floats()[(kv * capacity + key) * d + c];
          const double found = out[static_cast<std::size_t>((row * heads + head) * d + c)];
          const double error = std::abs(expected - found);
          worst = std::isnan(error) ? INFINITY : std::max(worst, error);
        }
      }
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("attention over a cache, for any map of heads, lengths, windows, scales and caps", "[ops]") {
  const std::vector<Text> decoded = {{0, 0, 1}, {3, 699, 1}, {1, 511, 1}, {2, 130, 1}, {4, 512, 1}};
  const std::vector<Text> prefilled = {{1, 0, 70}, {0, 3, 1}, {4, 127, 130}, {2, 600, 9}};
  std::vector<Case> cases;
  for (const std::vector<Text>& texts : {decoded, prefilled}) {
    cases.push_back({8, 2, {0, 0, 1, 1}, texts});
    cases.push_back({16, 3, {0, 2, 2, 2, 2, 2, 2, 2, 2, 2}, texts});  // irregular; a KV head without any
    cases.push_back({128, 1, {0}, texts});
    cases.push_back({7, 2, {1, 0, 1}, texts, {130}});
    cases.push_back({10, 1, {0, 0}, texts, {1}});
    cases.push_back({64, 1, {0, 0}, texts, {600, 0.3f, 1.5f}});
    cases.push_back({260, 1, {0, 0, 0}, texts, {0, 0, 2.5f}});
    cases.push_back({96, 2, {0, 1}, texts});
  }
  cases.push_back({8, 2, {}, decoded});
  cases.push_back({8, 1, {0}, {}});
  const Device device = GENERATE_DEVICE();
  constexpr std::int64_t places = 5, capacity = 700;
  std::mt19937 random(19);
  for (const Case& test : cases) {
    const Rows rows(test.texts);
    const std::int64_t tokens = rows.offsets.back(), width = std::ssize(test.kv_of_head) * test.head_dim;
    const Shape cached{places * test.kv_heads, capacity, test.head_dim};
    const OwnedTensor q = random_tensor({tokens, width}, random, DType::f32, 2);
    const OwnedTensor keys = random_tensor(cached, random, DType::f32, 2),
                      values = random_tensor(cached, random);
    const OwnedTensor keys_there = on(device, keys), values_there = on(device, values);
    const OwnedTensor out = poisoned_on(device, {tokens, width});
    ops::cached_attention(ops::Context(device), on(device, q), {keys_there, values_there, test.kv_heads},
                          test.kv_of_head, rows, out, test.rule);
    INFO("head_dim " << test.head_dim << ", window " << test.rule.window);
    CHECK(error_of(test, q, keys, values, read(out)) < 2e-5);
  }
}

TEST_CASE("what is stored in a cache lies at its text's place and position, and nothing else changes",
          "[ops]") {
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(20);
  constexpr std::int64_t head_dim = 6, kv_heads = 3, places = 4, capacity = 11;
  const Rows rows({{2, 0, 4}, {0, 10, 1}, {3, 5, 6}});
  const OwnedTensor k = random_tensor({11, kv_heads * head_dim}, random),
                    v = random_tensor({11, kv_heads * head_dim}, random);
  const Shape cached{places * kv_heads, capacity, head_dim};
  const OwnedTensor keys = zeros_on(device, cached), values = zeros_on(device, cached);
  ops::store_heads(ops::Context(device), on(device, k), on(device, v), rows, {keys, values, kv_heads});
  std::vector<float> wanted_keys(static_cast<std::size_t>(cached.elements())), wanted_values(wanted_keys);
  for (std::size_t s = 0; s < rows.starts.size(); ++s) {
    for (std::int64_t row = rows.offsets[s]; row < rows.offsets[s + 1]; ++row) {
      for (std::int64_t c = 0; c < kv_heads * head_dim; ++c) {
        const std::int64_t position = rows.starts[s] + row - rows.offsets[s];
        const std::int64_t at =
            ((rows.places[s] * kv_heads + c / head_dim) * capacity + position) * head_dim + c % head_dim;
        wanted_keys[static_cast<std::size_t>(at)] = k->floats()[row * kv_heads * head_dim + c];
        wanted_values[static_cast<std::size_t>(at)] = v->floats()[row * kv_heads * head_dim + c];
      }
    }
  }
  CHECK(read(keys) == wanted_keys);
  CHECK(read(values) == wanted_values);
}

TEST_CASE("a cache filled step by step gives what attention of the whole texts gives", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(21);
  constexpr std::int64_t head_dim = 16, kv_heads = 2, length = 90;
  const std::vector<std::int32_t> kv_of_head = {0, 1, 1};
  const OwnedTensor q = on(device, random_tensor({length, 3 * head_dim}, random)),
                    k = on(device, random_tensor({length, kv_heads * head_dim}, random)),
                    v = on(device, random_tensor({length, kv_heads * head_dim}, random));
  for (const ops::AttentionRule& rule : {ops::AttentionRule{}, {17}}) {
    const OwnedTensor whole = poisoned_on(device, {length, 3 * head_dim});
    ops::attention(context, q, k, v, head_dim, kv_of_head, std::vector<std::int64_t>{0, length}, whole, {},
                   rule);
    const Shape cached{kv_heads, length, head_dim};
    const OwnedTensor keys = poisoned_on(device, cached), values = poisoned_on(device, cached);
    const ops::HeadCache cache{keys, values, kv_heads};
    std::vector<float> found;
    std::int64_t at = 0;
    for (const std::int64_t rows : {40, 1, 1, 30, 1, 17}) {
      const Rows here({{0, at, rows}});
      const OwnedTensor out = poisoned_on(device, {rows, 3 * head_dim});
      ops::store_heads(context, k->slice(at, rows), v->slice(at, rows), here, cache);
      ops::cached_attention(context, q->slice(at, rows), cache, kv_of_head, here, out, rule);
      const std::vector<float> some = read(out);
      found.insert(found.end(), some.begin(), some.end());
      at += rows;
    }
    CHECK(relative_error(found, read(whole)) < 1e-6);
  }
}

TEST_CASE("heads are turned by positions that start anywhere", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(22);
  constexpr std::int64_t head_dim = 8, length = 50;
  const OwnedTensor frequencies = random_tensor({head_dim / 2}, random);
  const OwnedTensor x = random_tensor({length, 2 * head_dim}, random);
  const OwnedTensor there = on(device, x), on_device = on(device, frequencies);
  ops::rope(context, there, {}, head_dim, on_device, std::vector<std::int64_t>{0, length}, 1.5f);
  const std::vector<float> whole = read(there);
  // Rows 0 to 19, 20 alone, and 21 to the end, the last first.
  OwnedTensor parts({length, 2 * head_dim}, DType::f32, Device::cpu, "test");
  copy_values(x->slice(21, 29), parts->slice(0, 29));
  copy_values(x->slice(0, 20), parts->slice(29, 20));
  copy_values(x->slice(20, 1), parts->slice(49, 1));
  const OwnedTensor parts_there = on(device, parts);
  ops::rope(context, parts_there, {}, head_dim, on_device, std::vector<std::int64_t>{0, 29, 49, 50}, 1.5f,
            std::vector<std::int64_t>{21, 0, 20});
  CHECK(read(parts_there->slice(0, 29)) == read(there->slice(21, 29)));
  CHECK(read(parts_there->slice(29, 20)) == read(there->slice(0, 20)));
  CHECK(read(parts_there->slice(49, 1)) == read(there->slice(20, 1)));
}
