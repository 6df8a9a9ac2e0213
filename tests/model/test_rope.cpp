#include "support/catch.hpp"
#include "support/random.hpp"

#include <cmath>

#include <galapagos/model/rope.hpp>

using namespace galapagos;

namespace {

RopeSettings scaled(RopeKind kind, double factor, std::int64_t original, double theta = 1e4) {
  RopeSettings rope;
  rope.kind = kind;
  rope.theta = theta;
  rope.factor = factor;
  rope.original_positions = original;
  return rope;
}

void check(const std::vector<float>& found, const std::vector<float>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    CHECK(std::abs(found[i] - expected[i]) <= 4e-6f * std::abs(expected[i]));
}

}  // namespace

TEST_CASE("frequencies of each kind of rope are those of transformers", "[model][rope]") {
  // By ROPE_INIT_FUNCTIONS of transformers 5.24, heads of 16.
  check(rope_frequencies(scaled(RopeKind::linear, 2.5, 0), 16),
        {0.400000006f, 0.1264911f, 0.0399999991f, 0.0126491114f, 0.00399999972f, 0.00126491114f,
         0.000400000019f, 0.000126491112f});
  check(rope_frequencies(scaled(RopeKind::yarn, 4, 1024), 16),
        {1.0f, 0.316227764f, 0.0812500045f, 0.0197642371f, 0.00437500002f, 0.000790569466f, 0.000250000012f,
         7.90569466e-05f});
  RopeSettings yarn = scaled(RopeKind::yarn, 8, 512, 5e5);
  yarn.beta_fast = 20;
  yarn.beta_slow = 2;
  yarn.truncate = false;
  check(rope_frequencies(yarn, 16), {1.0f, 0.176562354f, 0.0107986815f, 0.000911583134f, 0.000176776681f,
                                     3.42810235e-05f, 6.64786967e-06f, 1.28917316e-06f});
  RopeSettings llama3 = scaled(RopeKind::llama3, 8, 256);
  check(rope_frequencies(llama3, 16), {1.0f, 0.316227764f, 0.100000001f, 0.00661310693f, 0.00124999997f,
                                       0.000395284733f, 0.000125000006f, 3.95284733e-05f});
  RopeSettings longrope = scaled(RopeKind::longrope, 4, 1024);
  longrope.short_factors = {1, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6};
  longrope.long_factors = {1, 2, 3, 4, 5, 6, 7, 8};
  check(rope_frequencies(longrope, 16), {1.0f, 0.316227764f, 0.0909090936f, 0.0263523124f, 0.0076923077f,
                                         0.00225876993f, 0.00066666666f, 0.000197642366f});
  check(rope_frequencies(longrope, 16, true),
        {1.0f, 0.158113882f, 0.0333333351f, 0.00790569466f, 0.00200000009f, 0.00052704633f, 0.000142857141f,
         3.95284733e-05f});
  // dynamic changes only sequences that are longer than the model takes.
  CHECK(rope_frequencies(scaled(RopeKind::dynamic, 2, 0), 16) ==
        rope_frequencies(scaled(RopeKind::standard, 1, 0), 16));
  RopeSettings half = scaled(RopeKind::standard, 1, 0);
  half.rotated_share = 0.5;
  CHECK(rope_frequencies(half, 16) == rope_frequencies(scaled(RopeKind::standard, 1, 0), 8));
}

TEST_CASE("each sequence of a batch turns by its own length, there and back", "[model][rope]") {
  RopeSettings settings = scaled(RopeKind::longrope, 4, 5);
  settings.rotated_share = 0.75;
  settings.attention_factor = 1.2;
  settings.short_factors = {1, 1.1, 1.2};
  settings.long_factors = {2, 3, 4};
  const ops::Context context;
  const Rope rope(settings, 8, Device::cpu);
  const std::vector<std::int64_t> lengths = {5, 3, 6, 0, 7, 1, 9};
  std::vector<std::int64_t> offsets = {0};
  for (const std::int64_t length : lengths) offsets.push_back(offsets.back() + length);
  std::mt19937 random(4);
  const OwnedTensor q = test::random_tensor({offsets.back(), 3 * 8}, random),
                    k = test::random_tensor({offsets.back(), 8}, random);
  const OwnedTensor q_alone = copy_of(q, Device::cpu, "test"), k_alone = copy_of(k, Device::cpu, "test"),
                    q_before = copy_of(q, Device::cpu, "test");
  rope.turn(context, q, k, offsets);
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    const std::int64_t own[] = {0, lengths[s]};
    const Tensor some_q = q_alone->slice(offsets[s], lengths[s]),
                 some_k = k_alone->slice(offsets[s], lengths[s]);
    rope.turn(context, some_q, lengths[s] == 1 ? Tensor() : some_k, own);
  }
  CHECK(test::values_of(q) == test::values_of(q_alone));
  rope.turn_back(context, q, {}, offsets);
  const std::vector<float> back = test::values_of(q), before = test::values_of(q_before);
  double worst = 0;
  for (std::size_t i = 0; i < back.size(); ++i) {
    const double expected = before[i] * (i % 8 < 6 ? 1.44 : 1.0);
    worst = std::max(worst, std::abs(back[i] - expected));
  }
  CHECK(worst < 1e-5);
}
