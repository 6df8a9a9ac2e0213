// The ways to an inverse on a GPU against the CPU's in fp64, whichever of them invert_spd() takes.
#include "ops/cuda/inverse.hpp"
#include "ops/devices.hpp"

#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/obs.hpp>

using namespace galapagos;

namespace {

/// Inputs whose columns differ in scale, of more tokens than columns, and a small damping.
OwnedTensor spread_hessian(std::int64_t n, std::mt19937& random) {
  const OwnedTensor x = test::random_tensor({2 * n + 3, n}, random),
                    scales = test::random_tensor({n}, random);
  for (std::int64_t t = 0; t < x->rows(); ++t) {
    for (std::int64_t j = 0; j < n; ++j) x->floats()[t * n + j] *= std::exp(scales->floats()[j]);
  }
  OwnedTensor h({n, n}, DType::f32, Device::cpu, "test");
  fill_zero(h);
  ops::accumulate_gram(ops::Context(), x, 1.0f / static_cast<float>(n), h);
  for (std::int64_t i = 0; i < n; ++i) h->floats()[i * n + i] += 0.02f;
  return h;
}

std::vector<float> lower(const Tensor& matrix) {
  const std::vector<float> values = test::read(matrix);
  std::vector<float> triangle;
  for (std::int64_t i = 0; i < matrix.rows(); ++i) {
    const auto row = values.begin() + i * matrix.rows();
    triangle.insert(triangle.end(), row, row + i + 1);
  }
  return triangle;
}

}  // namespace

TEST_CASE("every way to an inverse on a GPU gives it", "[ops]") {
  if (test::without_gpu()) return;
  using ops::cuda::InverseWay;
  const ops::Context context(Device::cuda);
  std::mt19937 random(41);
  for (const std::int64_t n : {1, 2, 65, 511, 512, 513, 1300}) {  // in blocks of 512
    const OwnedTensor h = spread_hessian(n, random);
    const OwnedTensor exact = copy_of(h, Device::cpu, "test");
    REQUIRE(ops::invert_spd(ops::Context(), exact, true));
    const std::vector<float> wanted = lower(exact);
    for (const InverseWay way : {InverseWay::potri, InverseWay::product, InverseWay::blocked}) {
      INFO(n << " columns, way " << static_cast<int>(way));
      const OwnedTensor there = test::on(Device::cuda, h);
      CHECK(ops::cuda::factor_lower(context.cuda(), there->floats(), n));
      CHECK(ops::cuda::invert_factor(context.cuda(), there->floats(), n, way));
      CHECK(test::relative_error(lower(there), wanted) < 1e-4);
    }
  }
}

TEST_CASE("no way to an inverse begins where there is none", "[ops]") {
  if (visible_gpus().empty()) return;
  const ops::Context context(Device::cuda);
  std::mt19937 random(42);
  const OwnedTensor h = spread_hessian(600, random);
  h->floats()[550 * 601] = -1;
  CHECK(!ops::cuda::factor_lower(context.cuda(), test::on(Device::cuda, h)->floats(), 600));
}
