// Attention in 16 bits, as tensor cores do it, against the CPU backend on operands that are rounded likewise.
#include "ops/devices.hpp"

#include <numeric>

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/transformer.hpp>

using namespace galapagos;
using test::on;
using test::poisoned_on;
using test::random_tensor;
using test::read;
using test::rounded;

TEST_CASE("attention and its gradients in 16 bits, for the usual head sizes", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const std::int64_t head_dim = GENERATE(64, 80, 96, 128, 48);
  const ops::Context context(device, 0, DType::bf16), plain;
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
    const auto run = [&](const ops::Context& on_context) {
      const Device place = on_context.device();
      Results results{poisoned_on(place, q_shape), poisoned_on(place, {tokens, heads}),
                      poisoned_on(place, q_shape), poisoned_on(place, kv_shape),
                      poisoned_on(place, kv_shape)};
      const OwnedTensor q_there = on(place, q), k_there = on(place, k), v_there = on(place, v);
      ops::attention(on_context, q_there, k_there, v_there, head_dim, test.kv_of_head, test.offsets,
                     results.out, results.log_sums);
      ops::attention_backward(on_context, q_there, k_there, v_there, head_dim, test.kv_of_head, test.offsets,
                              results.out, results.log_sums, on(place, g), results.d_q, results.d_k,
                              results.d_v);
      return results;
    };
    const Results wanted = run(plain), found = run(context), again = run(context);
    INFO(name_of(device) << ", heads of " << head_dim << ", " << tokens << " tokens");
    CHECK(test::relative_error(read(found.out), read(wanted.out)) < 4e-3);
    CHECK(test::relative_error(read(found.log_sums), read(wanted.log_sums)) < 1e-5);
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
