#include "ops/devices.hpp"

#include <cstring>
#include <numeric>

#include <galapagos/ops/divergence.hpp>
#include <galapagos/ops/transfer.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/tensor/page_lock.hpp>

using namespace galapagos;
using test::on;
using test::random_tensor;

TEST_CASE("what is uploaded arrives, from any memory, and pageable memory is free at once", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  // Less than a slot of pinned memory, some of them, and more than all.
  for (const std::int64_t count : {1, 1000, 4 << 20, (10 << 20) + 3}) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::iota(values.begin(), values.end(), static_cast<float>(count));
    const std::vector<float> expected = values;
    const OwnedTensor there({count}, DType::f32, device, "test"), again({count}, DType::f32, device, "test");
    ops::upload(context, std::as_bytes(std::span(values)), there);
    std::fill(values.begin(), values.end(), -1.0f);
    CHECK(test::read(there) == expected);
    values = expected;
    const PageLock lock(std::as_writable_bytes(std::span(values)), device, "a test");
    CHECK((device == Device::cuda || !lock.held()));
    ops::upload(context, std::as_bytes(std::span(values)), again);
    CHECK(test::read(again) == expected);
  }
}

TEST_CASE("losses that stay on the device are those that come to the host", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(17);
  const std::int64_t rows = 7, vocabulary = 3001;
  const OwnedTensor p = on(device, random_tensor({rows, vocabulary}, random, DType::f32, 3)),
                    q = on(device, random_tensor({rows, vocabulary}, random, DType::f32, 3)),
                    scale = test::poisoned_on(device, {rows, 2});
  ops::softmax_scale(context, p, scale);
  const std::vector<std::int32_t> targets = {0, 1, 2, 3000, 5, 1500, 7};
  constexpr std::size_t kinds = 3;
  const auto all = [&](const ops::RowValues& values) {
    ops::kl_divergence(context, p, scale, q, values.part(0, rows));
    ops::sparse_kl_divergence(context, p, q, 20, values.part(rows, rows));
    ops::token_nll(context, q, targets, values.part(2 * rows, rows));
  };
  std::vector<double> expected(kinds * static_cast<std::size_t>(rows), NAN), found = expected;
  all(expected);
  const Buffer buffer(found.size() * sizeof(double), device, "test");
  const ops::RowValues values(reinterpret_cast<double*>(buffer.data()),
                              static_cast<std::int64_t>(found.size()), device);
  all(values);
  ops::download(context, values, found);
  CHECK(found == expected);
}

TEST_CASE("divergences of rows with few likely tokens and with impossible ones", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const std::int64_t vocabulary = 10000;
  // The greatest logit comes first, last, or grows all the way; far apart, so that the sum is scaled anew.
  for (const int kind : {0, 1, 2, 3}) {
    const OwnedTensor row({1, vocabulary}, DType::f32, Device::cpu, "test");
    for (std::int64_t i = 0; i < vocabulary; ++i) {
      const auto part = static_cast<float>(i) / static_cast<float>(vocabulary);
      row->floats()[i] = kind == 0   ? -60 * part
                         : kind == 1 ? 60 * part - 90
                         : kind == 2 ? (i % 777 == 5 ? 80.0f : -40.0f)
                                     : (i < 600 ? -INFINITY : part);
    }
    double sum = 0, largest = -INFINITY;
    for (std::int64_t i = 0; i < vocabulary; ++i)
      largest = std::max(largest, static_cast<double>(row->floats()[i]));
    for (std::int64_t i = 0; i < vocabulary; ++i) sum += std::exp(row->floats()[i] - largest);
    const std::vector<std::int32_t> targets = {9000};
    std::vector<double> nll(1, NAN);
    ops::token_nll(context, on(device, row), targets, nll);
    CHECK(std::abs(nll[0] - (largest + std::log(sum) - row->floats()[9000])) < 1e-5);
    if (kind == 3) continue;
    const OwnedTensor p = on(device, row), scale = test::poisoned_on(device, {1, 2});
    ops::softmax_scale(context, p, scale);
    std::vector<double> same(1, NAN);
    ops::kl_divergence(context, p, scale, p, same);
    CHECK(std::abs(same[0]) < 1e-5);
  }
}
