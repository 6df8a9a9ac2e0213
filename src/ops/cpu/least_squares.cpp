#include "../backends.hpp"
#include "blas.hpp"
#include "cholesky.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <vector>

namespace galapagos::ops::cpu {

bool solve_spd(const Context& context, const Tensor& h, double ridge, const Tensor& rhs) {
  const std::int64_t n = h.rows(), d = rhs.columns();
  if (n == 0) return true;
  float *matrix = h.floats(), *b = rhs.floats();
  double trace = 0;
  for (std::int64_t i = 0; i < n; ++i) trace += matrix[i * n + i];
  const double added = ridge * (trace > 0 ? trace / static_cast<double>(n) : 1);
  for (std::int64_t i = 0; i < n; ++i) matrix[i * n + i] = static_cast<float>(matrix[i * n + i] + added);
  if (!factor(Square<float>{matrix, n, n})) return false;
  for_strips(d, [&](std::int64_t column, std::int64_t count) {
    solve_lower_left(n, count, matrix, n, b + column, d);
    solve_lower_transposed_left(n, count, matrix, n, b + column, d);
  });
  return cpu::all_finite(context, rhs);
}

void symmetric_product(const Context&, const Tensor& h, const Tensor& x, const Tensor& y) {
  const std::int64_t n = h.rows(), d = x.columns();
  for_strips(d, [&](std::int64_t column, std::int64_t count) {
    symmetric_left(n, count, h.floats(), n, x.floats() + column, d, y.floats() + column, d);
  });
}

void principal_submatrix(const Context&, const Tensor& h, std::span<const std::int64_t> indices,
                         const Tensor& out) {
  const std::int64_t n = h.rows(), k = out.rows();
#pragma omp parallel for schedule(static, 64)
  for (std::int64_t i = 0; i < k; ++i) {
    const float* row = h.floats() + indices[static_cast<std::size_t>(i)] * n;
    for (std::int64_t j = 0; j <= i; ++j) out.floats()[i * k + j] = row[indices[static_cast<std::size_t>(j)]];
  }
}

void combine(const Context&, float alpha, const Tensor& x, float beta, const Tensor& y) {
  const std::int64_t count = y.elements();
  const float* from = x.floats();
  float* to = y.floats();
  if (beta == 0) {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < count; ++i) to[i] = alpha * from[i];
    return;
  }
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < count; ++i) to[i] = alpha * from[i] + beta * to[i];
}

double inner_product(const Context&, const Tensor& x, const Tensor& y) {
  constexpr std::int64_t piece = piece_of_elements;
  const std::int64_t count = x.elements(), pieces = (count + piece - 1) / piece;
  std::vector<double> sums(static_cast<std::size_t>(pieces));
#pragma omp parallel for schedule(static)
  for (std::int64_t p = 0; p < pieces; ++p) {
    const std::int64_t end = std::min(count, (p + 1) * piece);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = p * piece; i < end; ++i) sum += static_cast<double>(x.floats()[i]) * y.floats()[i];
    sums[static_cast<std::size_t>(p)] = sum;
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace galapagos::ops::cpu
