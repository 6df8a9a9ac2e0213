#include "support/catch.hpp"
#include "training/output_fit.hpp"

#include <cmath>
#include <vector>

#include <galapagos/core/random.hpp>

using namespace galapagos;

namespace {

using Doubles = std::vector<double>;

constexpr std::size_t columns = 7, hidden = 5, rows = 6;

/// Sums over tokens in fp64: A = sum a a^T, B = sum a left^T.
struct Sums {
  Doubles a = Doubles(columns * columns), b = Doubles(columns * hidden);

  void add(const float* input, const float* left) {
    for (std::size_t i = 0; i < columns; ++i) {
      for (std::size_t j = 0; j < columns; ++j) a[i * columns + j] += double{input[i]} * input[j];
      for (std::size_t j = 0; j < hidden; ++j) b[i * hidden + j] += double{input[i]} * left[j];
    }
  }
  /// (A + ridge mean diagonal of A)^-1 B, by Gaussian elimination.
  Doubles solution(double ridge) const {
    Doubles m = a, x = b;
    double lambda = 0;
    for (std::size_t i = 0; i < columns; ++i) lambda += ridge * a[i * (columns + 1)] / columns;
    for (std::size_t i = 0; i < columns; ++i) m[i * (columns + 1)] += lambda;
    for (std::size_t i = 0; i < columns; ++i) {
      for (std::size_t row = 0; row < columns; ++row) {
        const double factor = row == i ? 0 : m[row * columns + i] / m[i * columns + i];
        for (std::size_t j = 0; j < columns; ++j) m[row * columns + j] -= factor * m[i * columns + j];
        for (std::size_t j = 0; j < hidden; ++j) x[row * hidden + j] -= factor * x[i * hidden + j];
      }
    }
    for (std::size_t i = 0; i < columns; ++i)
      for (std::size_t j = 0; j < hidden; ++j) x[i * hidden + j] /= m[i * columns + i];
    return x;
  }
  /// How a change of the weight changes the squared error.
  double change_of_error(const Doubles& change) const {
    double sum = 0;
    for (std::size_t j = 0; j < hidden; ++j) {
      for (std::size_t i = 0; i < columns; ++i) {
        double product = -2 * b[i * hidden + j];
        for (std::size_t k = 0; k < columns; ++k) product += a[i * columns + k] * change[k * hidden + j];
        sum += change[i * hidden + j] * product;
      }
    }
    return sum;
  }
};

OwnedTensor random_matrix(std::size_t width, RandomStream& random) {
  OwnedTensor tensor({rows, static_cast<std::int64_t>(width)}, DType::f32, Device::cpu, "test");
  for (float& value : tensor->float_span()) value = static_cast<float>(random.below(2001)) / 1000 - 1;
  return tensor;
}

}  // namespace

TEST_CASE(
    "an output projection is fitted to the text of all ranks with the ridge that is best on what is held out",
    "[distil]") {
  const Communicator world = Communicator::world();
  const std::unique_ptr<Collectives> replicas = make_mpi_collectives(world);
  const ops::Context context;
  for (const bool learnable : {true, false}) {
    CAPTURE(learnable);
    Sums parts[2], all;
    OutputFit fit(context, columns, hidden, "test");
    RandomStream random(3, {learnable ? 1u : 0u, 0, 0, 0});
    const OwnedTensor truth = random_matrix(columns, random);  // its first rows, [hidden, columns]
    for (int batch = 0; batch < 24; ++batch) {
      const OwnedTensor input = random_matrix(columns, random), left = random_matrix(hidden, random);
      for (std::size_t t = 0; learnable && t < rows; ++t)
        for (std::size_t i = 0; i < hidden; ++i)
          for (std::size_t k = 0; k < columns; ++k)
            left->floats()[t * hidden + i] +=
                truth->floats()[i * columns + k] * input->floats()[t * columns + k];
      const bool held_out = batch % 6 == 5;
      for (std::size_t t = 0; t < rows; ++t) {
        for (Sums* sums : {&parts[held_out ? 1 : 0], &all})
          sums->add(input->floats() + t * columns, left->floats() + t * hidden);
      }
      if (batch % world.size() == world.rank()) fit.add(input, left, held_out);
    }
    const OwnedTensor weight({hidden, columns}, DType::f32, Device::cpu, "test");
    for (std::size_t i = 0; i < columns * hidden; ++i) weight->floats()[i] = static_cast<float>(i) / 8;
    const double ridge = fit.solve(*replicas, nullptr, weight);
    double least = 0, best = INFINITY;
    for (const double other : {0.03, 0.1, 0.3, 1.0, 3.0, 10.0}) {
      const double error = parts[1].change_of_error(parts[0].solution(other));
      if (error < least) {
        least = error;
        best = other;
      }
    }
    CHECK(ridge == best);
    CHECK(std::isinf(ridge) == !learnable);
    const Doubles change = std::isinf(best) ? Doubles(columns * hidden) : all.solution(best);
    for (std::size_t i = 0; i < columns; ++i) {
      for (std::size_t j = 0; j < hidden; ++j) {
        const double before = static_cast<double>(j * columns + i) / 8;
        CHECK(weight->floats()[j * columns + i] ==
              Approx(before + change[i * hidden + j]).epsilon(1e-4).margin(1e-4));
      }
    }
  }
}
