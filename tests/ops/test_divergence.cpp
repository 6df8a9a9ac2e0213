#include "ops/devices.hpp"

#include <numeric>

#include <galapagos/ops/divergence.hpp>

using namespace galapagos;
using test::on;
using test::random_tensor;

namespace {

/// KL over the tokens `ids` of a row, both distributions renormalised on them, in fp64.
double divergence64(const float* p, const float* q, const std::vector<std::int64_t>& ids) {
  double p_sum = 0, q_sum = 0, result = 0;
  for (const std::int64_t i : ids) {
    p_sum += std::exp(static_cast<double>(p[i]));
    q_sum += std::exp(static_cast<double>(q[i]));
  }
  for (const std::int64_t i : ids) {
    const double log_p = p[i] - std::log(p_sum), log_q = q[i] - std::log(q_sum);
    result += std::exp(log_p) * (log_p - log_q);
  }
  return result;
}

}  // namespace

TEST_CASE("divergences of two models' answers", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(13);
  for (const std::int64_t vocabulary : {1, 2, 31, 777, 5000}) {
    const std::int64_t rows = 5;
    const OwnedTensor dense = random_tensor({rows, vocabulary}, random, DType::f32, 3),
                      other = random_tensor({rows, vocabulary}, random, DType::f32, 3);
    // Ties: the token with the lower id goes first.
    for (std::int64_t i = 0; i < vocabulary; ++i) dense->floats()[i] = std::round(dense->floats()[i]);
    const OwnedTensor p = on(device, dense), q = on(device, other),
                      scale = test::poisoned_on(device, {rows, 2});
    ops::softmax_scale(context, p, scale);
    std::vector<double> full(static_cast<std::size_t>(rows), NAN), sparse = full;
    std::vector<std::int32_t> most(static_cast<std::size_t>(rows), -1);
    ops::kl_divergence(context, p, scale, q, full);
    ops::arg_max(context, p, most);
    for (const std::int64_t k : {std::int64_t{1}, std::int64_t{20}, vocabulary + 3}) {
      ops::sparse_kl_divergence(context, p, q, k, sparse);
      for (std::int64_t row = 0; row < rows; ++row) {
        const float *p_row = dense->floats() + row * vocabulary, *q_row = other->floats() + row * vocabulary;
        std::vector<std::int64_t> ids(static_cast<std::size_t>(vocabulary));
        std::iota(ids.begin(), ids.end(), 0);
        std::stable_sort(ids.begin(), ids.end(),
                         [&](std::int64_t a, std::int64_t b) { return p_row[a] > p_row[b]; });
        const auto at = static_cast<std::size_t>(row);
        CHECK(most[at] == ids[0]);
        CHECK(std::abs(full[at] - divergence64(p_row, q_row, ids)) < 1e-5);
        ids.resize(static_cast<std::size_t>(std::min(k, vocabulary)));
        CHECK(std::abs(sparse[at] - divergence64(p_row, q_row, ids)) < 1e-5);
      }
    }
  }
}

TEST_CASE("zeros of both signs are ties", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const OwnedTensor dense({2, 3}, DType::f32, Device::cpu, "test"),
      other({2, 3}, DType::f32, Device::cpu, "test");
  const float values[] = {-1, -0.0f, 0, -0.0f, 5, 0}, others[] = {1, 2, 3, 1, 2, 3};
  std::copy_n(values, 6, dense->floats());
  std::copy_n(others, 6, other->floats());
  const OwnedTensor p = on(device, dense), q = on(device, other);
  std::vector<std::int32_t> most(2, -1);
  ops::arg_max(context, p, most);
  CHECK(most == std::vector<std::int32_t>{1, 1});
  std::vector<double> sparse(2, NAN);
  ops::sparse_kl_divergence(context, p, q, 2, sparse);
  CHECK(std::abs(sparse[0] - divergence64(values, others, {1, 2})) < 1e-6);
  CHECK(std::abs(sparse[1] - divergence64(values + 3, others + 3, {0, 1})) < 1e-6);
}
