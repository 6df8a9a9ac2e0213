// Attention in 16 bits, as tensor cores do it, against the CPU backend on operands that are rounded likewise.
#include "ops/devices.hpp"

#include <numeric>

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/transformer.hpp>

using namespace galapagos;
using test::poisoned;
using test::poisoned_on;
using test::random_tensor;
using test::read;
using test::rounded;
using test::stored_on;

TEST_CASE("attention and its gradients in 16 bits, for the usual head sizes", "[ops]") {
  if (test::without_gpu()) return;  // the CPU would be compared with itself
  const std::int64_t head_dim = GENERATE(64, 80, 96, 128, 48);
  const DType type = GENERATE(DType::f32, DType::bf16);
  const ops::Context context(Device::cuda, 0, DType::bf16), plain;
  std::mt19937 random(static_cast<unsigned>(head_dim));
  struct Case {
    std::int64_t kv_heads;
    std::vector<std::int32_t> kv_of_head;
    std::vector<std::int64_t> offsets;
  };
  const Case cases[] = {{1, {0}, {0, 1}},
                        {2, {1, 1, 0}, {0, 64}},
                        {3, {2, 0, 0, 2}, {0, 1, 66, 66, 131, 330}},  // one KV head without a query head
                        {2, {0, 1}, {0, 127, 160}}};
  for (const Case& test : cases) {
    const std::int64_t tokens = test.offsets.back(),
                       heads = static_cast<std::int64_t>(test.kv_of_head.size());
    const Shape q_shape{tokens, heads * head_dim}, kv_shape{tokens, test.kv_heads * head_dim};
    const auto made = [&](const Shape& shape) {
      return rounded(random_tensor(shape, random, DType::f32, 1.5f), DType::bf16);
    };
    const OwnedTensor q = made(q_shape), k = made(kv_shape), v = made(kv_shape), g = made(q_shape);
    struct Results {
      OwnedTensor out, log_sums, d_q, d_k, d_v;
    };
    const auto run = [&](const ops::Context& on_context, DType stored) {
      const Device place = on_context.device();
      const auto poison = [&](const Shape& shape) { return stored_on(place, poisoned(shape), stored); };
      Results results{poison(q_shape), poisoned_on(place, {tokens, heads}), poison(q_shape), poison(kv_shape),
                      poison(kv_shape)};
      const OwnedTensor q_there = stored_on(place, q, stored), k_there = stored_on(place, k, stored),
                        v_there = stored_on(place, v, stored);
      ops::attention(on_context, q_there, k_there, v_there, head_dim, test.kv_of_head, test.offsets,
                     results.out, results.log_sums);
      ops::attention_backward(on_context, q_there, k_there, v_there, head_dim, test.kv_of_head, test.offsets,
                              results.out, results.log_sums, stored_on(place, g, stored), results.d_q,
                              results.d_k, results.d_v);
      return results;
    };
    const Results wanted = run(plain, DType::f32), found = run(context, type), again = run(context, type);
    INFO("heads of " << head_dim << ", " << name_of(type) << ", " << tokens << " tokens");
    CHECK(test::relative_error(read(found.out), read(wanted.out)) < 4e-3);
    CHECK(test::relative_error(read(found.log_sums), read(wanted.log_sums)) < 3e-5);  // tensor cores truncate
    CHECK(test::relative_error(read(found.d_v), read(wanted.d_v)) < 4e-3);
    // With one key there is nothing to learn: the gradient is what rounding leaves of zero.
    if (tokens > 1) {
      CHECK(test::relative_error(read(found.d_q), read(wanted.d_q)) < 8e-3);
      CHECK(test::relative_error(read(found.d_k), read(wanted.d_k)) < 8e-3);
    }
    CHECK(read(found.out) == read(again.out));
    CHECK(read(found.d_q) == read(again.d_q));
    CHECK(read(found.d_k) == read(again.d_k));
    CHECK(read(found.d_v) == read(again.d_v));
  }
}
