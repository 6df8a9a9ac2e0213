// Losses of hidden states and their gradients against the same in fp64 and its central differences.
#include "ops/devices.hpp"

#include <cmath>
#include <random>

#include <galapagos/ops/hidden_loss.hpp>

using namespace galapagos;
using ops::HiddenLoss;

namespace {

using Values = std::vector<double>;

double loss64(HiddenLoss kind, const Values& x, const Values& r) {
  double xx = 0, rr = 0, xr = 0, dd = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += x[i] * x[i];
    rr += r[i] * r[i];
    xr += x[i] * r[i];
    dd += (x[i] - r[i]) * (x[i] - r[i]);
  }
  return kind == HiddenLoss::cosine ? 1 - xr / std::sqrt(xx * rr) : dd / rr;
}

Values row_of(const std::vector<float>& values, std::int64_t row, std::int64_t width) {
  return {values.begin() + row * width, values.begin() + (row + 1) * width};
}

}  // namespace

TEST_CASE("losses of hidden states and their gradients", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const HiddenLoss kind = GENERATE(HiddenLoss::cosine, HiddenLoss::normalised);
  std::mt19937 random(5);
  for (const std::int64_t hidden : {1, 37, 700}) {
    const std::int64_t tokens = 5;
    const OwnedTensor x = test::random_tensor({tokens, hidden}, random, DType::f32, 3),
                      r = test::random_tensor({tokens, hidden}, random, DType::f32, 2),
                      before = test::random_tensor({tokens, hidden}, random);
    const OwnedTensor d_x = test::on(device, before);
    const std::vector<float> weights = {0.5f, 0, -2, 1, 0.25f};
    std::vector<double> loss(static_cast<std::size_t>(tokens));
    ops::hidden_loss(context, kind, test::on(device, x), test::on(device, r), weights, d_x, loss);
    const std::vector<float> found = test::read(d_x), had = test::values_of(before);
    for (std::int64_t row = 0; row < tokens; ++row) {
      Values at = row_of(test::values_of(x), row, hidden);
      const Values wanted = row_of(test::values_of(r), row, hidden);
      const auto weight = static_cast<double>(weights[static_cast<std::size_t>(row)]);
      CHECK(loss[static_cast<std::size_t>(row)] ==
            Approx(loss64(kind, at, wanted)).epsilon(1e-12).margin(1e-14));
      double worst = 0;
      for (std::int64_t i = 0; i < hidden; ++i) {
        constexpr double h = 1e-5;
        double& value = at[static_cast<std::size_t>(i)];
        const double kept = value;
        value = kept + h;
        const double above = loss64(kind, at, wanted);
        value = kept - h;
        const double difference = weight * (above - loss64(kind, at, wanted)) / (2 * h);
        value = kept;
        const auto place = static_cast<std::size_t>(row * hidden + i);
        if (weight == 0) CHECK(found[place] == had[place]);
        worst = std::max(worst, std::abs(found[place] - (had[place] + difference)));
      }
      CHECK(worst < 2e-6);
    }
  }
}

TEST_CASE("losses of hidden states of which one is zero are finite", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  const HiddenLoss kind = GENERATE(HiddenLoss::cosine, HiddenLoss::normalised);
  const OwnedTensor none = test::zeros_on(device, {1, 8}), d_x = test::zeros_on(device, {1, 8});
  std::mt19937 random(6);
  const OwnedTensor some = test::on(device, test::random_tensor({1, 8}, random));
  std::vector<double> loss(1);
  ops::hidden_loss(context, kind, none, some, std::vector<float>{1}, d_x, loss);
  CHECK(loss[0] == Approx(1));
  ops::hidden_loss(context, kind, none, none, std::vector<float>{1}, d_x, loss);
  CHECK(loss[0] == (kind == HiddenLoss::cosine ? 1 : 0));
  for (const float value : test::read(d_x)) CHECK(std::isfinite(value));
}
