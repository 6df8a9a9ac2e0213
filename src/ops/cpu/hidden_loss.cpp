#include "../backends.hpp"
#include "../hidden_loss_row.hpp"

namespace galapagos::ops::cpu {

void hidden_loss(const Context&, HiddenLoss kind, const Tensor& x, const Tensor& reference,
                 std::span<const float> weights, const Tensor& d_x, const RowValues& loss) {
  const std::int64_t hidden = x.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < x.rows(); ++row) {
    const float *found = x.floats() + row * hidden, *wanted = reference.floats() + row * hidden;
    float* gradient = d_x.floats() + row * hidden;
    double squares = 0, reference_squares = 0, product = 0, difference = 0;
#pragma omp simd reduction(+ : squares, reference_squares, product, difference)
    for (std::int64_t i = 0; i < hidden; ++i) {
      const auto a = static_cast<double>(found[i]), b = static_cast<double>(wanted[i]);
      squares += a * a;
      reference_squares += b * b;
      product += a * b;
      difference += (a - b) * (a - b);
    }
    const HiddenLossRow of_row(kind, squares, reference_squares, product, difference);
    loss.data[row] = of_row.loss;
    const float weight = weights[static_cast<std::size_t>(row)];
    const float by_difference = weight * of_row.by_difference, by_reference = weight * of_row.by_reference;
#pragma omp simd
    for (std::int64_t i = 0; i < hidden; ++i)
      gradient[i] += by_difference * (found[i] - wanted[i]) + by_reference * wanted[i];
  }
}

}  // namespace galapagos::ops::cpu
