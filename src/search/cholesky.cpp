#include "cholesky.hpp"

#include <cmath>
#include <numeric>

namespace galapagos {

Cholesky::Cholesky(std::vector<double> lower, const std::vector<double>& diagonal)
    : lower_(std::move(lower)), size_(diagonal.size()) {
  for (std::size_t i = 0; i < size_; ++i) {
    row(i)[i] += diagonal[i];
    for (std::size_t j = 0; j <= i; ++j) {
      const double rest = row(i)[j] - std::inner_product(row(i), row(i) + j, row(j), 0.0);
      row(i)[j] = i == j ? std::sqrt(rest) : rest / row(j)[j];
    }
  }
}

std::vector<double> Cholesky::solve(std::vector<double> x) const {
  for (std::size_t i = 0; i < size_; ++i) {
    x[i] = (x[i] - std::inner_product(row(i), row(i) + i, x.begin(), 0.0)) / row(i)[i];
  }
  for (std::size_t i = size_; i-- > 0;) {
    x[i] /= row(i)[i];
    for (std::size_t j = 0; j < i; ++j) x[j] -= row(i)[j] * x[i];
  }
  return x;
}

}  // namespace galapagos
