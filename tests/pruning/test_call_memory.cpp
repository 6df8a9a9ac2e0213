// What calls take while they run, by their own account and by the gauge of all tensors.
#include "obs_problem.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

#include <functional>

#include <galapagos/core/memory_gauge.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/pruning/weight_fit.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

constexpr std::int64_t hidden = 40;

/// Bytes of tensors that a call made at most at a time.
double most_of(const std::function<void()>& call) {
  host_tensors().restart();
  const std::uint64_t before = host_tensors().now();
  call();
  return static_cast<double>(host_tensors().most() - before);
}

Sensitivity identity() {
  std::vector<float> lower;
  for (std::int64_t i = 0; i < hidden; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) lower.push_back(i == j ? 1.0f : 0.0f);
  }
  return full_sensitivity(ops::Context(), lower, hidden, "test");
}

/// Sums over some random inputs and targets.
FitSums random_sums(std::int64_t columns, std::mt19937& random) {
  FitSums sums{OwnedTensor({columns, columns}, DType::f32, Device::cpu, "test"),
               random_tensor({columns, hidden}, random)};
  fill_zero(sums.gram);
  ops::accumulate_gram(ops::Context(), random_tensor({2 * columns, columns}, random), 1, sums.gram);
  return sums;
}

}  // namespace

TEST_CASE("structured OBS takes the memory that it says") {
  for (const std::int64_t columns : {64, 192}) {
    for (const std::int64_t unit : {1, 8}) {
      for (const bool weighed : {false, true}) {
        INFO(columns << " columns, unit " << unit << (weighed ? ", weighed" : ""));
        ObsProblem problem =
            as_obs(random_problem(hidden, columns, 3, 0), unit, {1, columns / unit / 2, columns / unit});
        if (weighed) problem.sensitivity = identity();
        const double taken =
            most_of([&] { structured_obs(ops::Context(), problem, [](auto, auto, const Tensor&) {}); });
        const auto said = static_cast<double>(obs_bytes(columns, hidden, Device::cpu, weighed));
        CHECK(taken >= said);
        CHECK(taken < 1.25 * said);  // blocks of rows and columns on their way
      }
    }
  }
}

TEST_CASE("a fit of parts takes the memory that it says") {
  std::mt19937 random(5);
  const Sensitivity metric = identity();
  for (const std::int64_t columns : {48, 160}) {
    INFO(columns << " columns");
    std::vector<FitSums> parts;
    for (int part = 0; part < 2; ++part) parts.push_back(random_sums(columns, random));
    const auto taken = [&](const Compensation& compensation, const Sensitivity* sensitivity) {
      return most_of([&] { fit_parts(ops::Context(), parts, compensation, "test", sensitivity); });
    };
    const auto chosen = static_cast<double>(fit_parts_bytes(columns, hidden, true, Device::cpu));
    CHECK(taken({}, &metric) == chosen);
    CHECK(taken({}, nullptr) <= chosen);
    CHECK(taken({}, nullptr) > 0.7 * chosen);
    CHECK(taken({0.3}, nullptr) == static_cast<double>(fit_parts_bytes(columns, hidden, false, Device::cpu)));
  }
}
