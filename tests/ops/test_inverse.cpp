#include "ops/devices.hpp"

#include <cmath>
#include <omp.h>

#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/obs.hpp>

using namespace galapagos;

namespace {

OwnedTensor positive_definite(std::int64_t n, std::mt19937& random) {
  const OwnedTensor x = test::random_tensor({2 * n, n}, random);
  OwnedTensor h({n, n}, DType::f32, Device::cpu, "test");
  fill_zero(h);
  ops::accumulate_gram(ops::Context(), x, 1.0f / static_cast<float>(n), h);
  for (std::int64_t i = 0; i < n; ++i) h->floats()[i * n + i] += 0.1f;
  return h;
}

// The largest element of H M - I, from the lower triangles, in fp64.
double residual(const std::vector<float>& h, const Tensor& m, std::int64_t n) {
  const auto h_at = [&](std::int64_t i, std::int64_t j) {
    return static_cast<double>(h[static_cast<std::size_t>(std::max(i, j) * n + std::min(i, j))]);
  };
  const auto m_at = [&](std::int64_t i, std::int64_t j) {
    return static_cast<double>(m.floats()[std::max(i, j) * n + std::min(i, j)]);
  };
  double worst = 0;
  for (std::int64_t i = 0; i < n; i += std::max<std::int64_t>(n / 40, 1)) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = i == j ? -1 : 0;
      for (std::int64_t k = 0; k < n; ++k) sum += h_at(i, k) * m_at(k, j);
      worst = std::max(worst, std::abs(sum));
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("the inverse of a positive definite matrix, within one tile and over many", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(4);
  for (const std::int64_t n : {1, 2, 63, 256, 257, 600, 1030}) {
    for (const bool wide : {false, true}) {
      const OwnedTensor h = positive_definite(n, random);
      const std::vector<float> before = test::values_of(h);
      const OwnedTensor there = test::on(device, h);
      CHECK(ops::invert_spd(context, there, wide));
      CHECK(residual(before, test::on(Device::cpu, there), n) < (wide ? 2e-4 : 1e-3));
    }
  }
}

TEST_CASE("the inverse does not depend on the number of threads", "[ops]") {
  const int before = omp_get_max_threads();
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 4}) {
    omp_set_num_threads(threads);
    std::mt19937 random(5);
    const OwnedTensor h = positive_definite(700, random);
    CHECK(ops::invert_spd(ops::Context(), h, false));
    results.push_back(test::values_of(h));
  }
  omp_set_num_threads(before);
  std::size_t different = 0;
  for (const auto& result : results) {
    for (std::int64_t i = 0; i < 700; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        const auto at = static_cast<std::size_t>(i * 700 + j);
        different += result[at] == results[0][at] ? 0u : 1u;
      }
    }
  }
  CHECK(different == 0);
}

TEST_CASE("an indefinite matrix is found out", "[ops]") {
  const Device device = GENERATE_DEVICE();
  std::mt19937 random(6);
  for (const std::int64_t bad : {0, 299, 599}) {
    const OwnedTensor h = positive_definite(600, random);
    h->floats()[bad * 601] = -1;
    CHECK(!ops::invert_spd(ops::Context(device), test::on(device, h), false));
  }
}
