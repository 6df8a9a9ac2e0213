#include "support/fp64_obs.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

namespace galapagos::test {
namespace {

using Index = std::size_t;

Index at(std::int64_t i, std::int64_t j, std::int64_t n) {
  return static_cast<Index>(i * n + j);
}

}  // namespace

std::vector<double> inverse_of(std::vector<double> matrix, std::int64_t n) {
  std::vector<double> inverse(static_cast<Index>(n * n), 0.0);
  for (std::int64_t i = 0; i < n; ++i) inverse[at(i, i, n)] = 1;
  for (std::int64_t column = 0; column < n; ++column) {
    std::int64_t pivot = column;
    for (std::int64_t i = column; i < n; ++i) {
      if (std::abs(matrix[at(i, column, n)]) > std::abs(matrix[at(pivot, column, n)])) pivot = i;
    }
    if (matrix[at(pivot, column, n)] == 0) throw std::runtime_error("singular matrix");
    for (std::int64_t j = 0; j < n; ++j) {
      std::swap(matrix[at(pivot, j, n)], matrix[at(column, j, n)]);
      std::swap(inverse[at(pivot, j, n)], inverse[at(column, j, n)]);
    }
    const double scale = 1 / matrix[at(column, column, n)];
    for (std::int64_t j = 0; j < n; ++j) {
      matrix[at(column, j, n)] *= scale;
      inverse[at(column, j, n)] *= scale;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const double factor = matrix[at(i, column, n)];
      if (i == column || factor == 0) continue;
      for (std::int64_t j = 0; j < n; ++j) {
        matrix[at(i, j, n)] -= factor * matrix[at(column, j, n)];
        inverse[at(i, j, n)] -= factor * inverse[at(column, j, n)];
      }
    }
  }
  return inverse;
}

Fp64Obs::Fp64Obs(std::vector<double> w, std::vector<double> hessian, std::int64_t rows, std::int64_t columns,
                 std::int64_t structure, double relative_damping)
    : d_row(rows), n(columns), unit(structure), weight(std::move(w)), damped(std::move(hessian)) {
  double mean = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    if (damped[at(j, j, n)] == 0) {
      damped[at(j, j, n)] = 1;
      for (std::int64_t i = 0; i < d_row; ++i) weight[at(i, j, n)] = 0;
    }
    mean += damped[at(j, j, n)] / static_cast<double>(n);
  }
  for (std::int64_t j = 0; j < n; ++j) damped[at(j, j, n)] += relative_damping * mean;
  for (std::int64_t j = 0; j < n; ++j) {
    bool zero = true;
    for (std::int64_t i = 0; i < d_row; ++i) zero = zero && weight[at(i, j, n)] == 0;
    if (!zero) continue;
    for (std::int64_t i = 0; i < n; ++i) damped[at(i, j, n)] = damped[at(j, i, n)] = 0;
    damped[at(j, j, n)] = 1;
  }
  initial = weight;
  inverse = inverse_of(damped, n);
  gone.assign(static_cast<Index>(n / unit), false);
}

double Fp64Obs::score(std::int64_t structure, const std::vector<double>& form) const {
  std::vector<double> block(static_cast<Index>(unit * unit));
  for (std::int64_t a = 0; a < unit; ++a) {
    for (std::int64_t b = 0; b < unit; ++b) {
      block[at(a, b, unit)] = inverse[at(structure * unit + a, structure * unit + b, n)];
    }
  }
  const std::vector<double> solve = inverse_of(block, unit);
  double sum = 0;
  for (std::int64_t a = 0; a < unit; ++a) {
    for (std::int64_t b = 0; b < unit; ++b) {
      double product = 0;  // of the two columns
      for (std::int64_t i = 0; i < d_row; ++i) {
        double weighed = form.empty() ? weight[at(i, structure * unit + b, n)] : 0.0;
        for (std::int64_t k = 0; !form.empty() && k < d_row; ++k)
          weighed += form[at(i, k, d_row)] * weight[at(k, structure * unit + b, n)];
        product += weight[at(i, structure * unit + a, n)] * weighed;
      }
      sum += solve[at(a, b, unit)] * product;
    }
  }
  return sum;
}

void Fp64Obs::remove_best(const std::vector<bool>& allowed) {
  double least = std::numeric_limits<double>::infinity();
  std::int64_t best = -1;
  for (std::int64_t g = 0; g < n / unit; ++g) {
    if (gone[static_cast<Index>(g)] || !allowed[static_cast<Index>(g)]) continue;
    if (const double value = score(g); value < least) {
      least = value;
      best = g;
    }
  }
  if (best < 0) throw std::runtime_error("nothing left to remove");
  std::vector<double> block(static_cast<Index>(unit * unit));
  for (std::int64_t a = 0; a < unit; ++a) {
    for (std::int64_t b = 0; b < unit; ++b)
      block[at(a, b, unit)] = inverse[at(best * unit + a, best * unit + b, n)];
  }
  loss += score(best, {}) / 2;
  const std::vector<double> solve = inverse_of(block, unit);
  std::vector<double> rows(static_cast<Index>(unit * n));  // (M_GG)^-1 M_G:
  for (std::int64_t a = 0; a < unit; ++a) {
    for (std::int64_t b = 0; b < unit; ++b) {
      for (std::int64_t j = 0; j < n; ++j)
        rows[at(a, j, n)] += solve[at(a, b, unit)] * inverse[at(best * unit + b, j, n)];
    }
  }
  const auto subtract = [&](std::vector<double>& matrix, std::int64_t height) {
    for (std::int64_t i = 0; i < height; ++i) {
      std::vector<double> left(static_cast<Index>(unit));
      for (std::int64_t a = 0; a < unit; ++a) left[static_cast<Index>(a)] = matrix[at(i, best * unit + a, n)];
      for (std::int64_t a = 0; a < unit; ++a) {
        for (std::int64_t j = 0; j < n; ++j)
          matrix[at(i, j, n)] -= left[static_cast<Index>(a)] * rows[at(a, j, n)];
      }
    }
  };
  subtract(weight, d_row);
  subtract(inverse, n);
  for (std::int64_t a = best * unit; a < (best + 1) * unit; ++a) {
    for (std::int64_t i = 0; i < d_row; ++i) weight[at(i, a, n)] = 0;
  }
  gone[static_cast<Index>(best)] = true;
  order.push_back(best);
}

std::vector<double> optimal_weight(const std::vector<double>& weight, const std::vector<double>& hessian,
                                   std::int64_t d_row, std::int64_t n,
                                   const std::vector<std::int64_t>& kept) {
  const auto k = static_cast<std::int64_t>(kept.size());
  std::vector<double> block(static_cast<Index>(k * k));
  for (std::int64_t a = 0; a < k; ++a) {
    for (std::int64_t b = 0; b < k; ++b) {
      block[at(a, b, k)] = hessian[at(kept[static_cast<Index>(a)], kept[static_cast<Index>(b)], n)];
    }
  }
  const std::vector<double> solve = inverse_of(block, k);
  std::vector<double> result(static_cast<Index>(d_row * k), 0.0);
  for (std::int64_t i = 0; i < d_row; ++i) {
    std::vector<double> projected(static_cast<Index>(k), 0.0);
    for (std::int64_t b = 0; b < k; ++b) {
      for (std::int64_t j = 0; j < n; ++j) {
        projected[static_cast<Index>(b)] +=
            weight[at(i, j, n)] * hessian[at(j, kept[static_cast<Index>(b)], n)];
      }
    }
    for (std::int64_t a = 0; a < k; ++a) {
      for (std::int64_t b = 0; b < k; ++b)
        result[at(i, a, k)] += projected[static_cast<Index>(b)] * solve[at(b, a, k)];
    }
  }
  return result;
}

double end_loss(const std::vector<double>& metric, const std::vector<double>& weight,
                const std::vector<double>& initial, const std::vector<double>& hessian, std::int64_t d_row,
                std::int64_t n) {
  std::vector<double> change(weight.size());
  for (Index i = 0; i < change.size(); ++i) change[i] = weight[i] - initial[i];
  double loss = 0;
  for (std::int64_t i = 0; i < d_row; ++i) {
    std::vector<double> row(static_cast<Index>(n), 0.0);  // of G (W - W0)
    for (std::int64_t k = 0; k < d_row; ++k) {
      for (std::int64_t a = 0; a < n; ++a)
        row[static_cast<Index>(a)] += metric[at(i, k, d_row)] * change[at(k, a, n)];
    }
    for (std::int64_t a = 0; a < n; ++a) {
      for (std::int64_t b = 0; b < n; ++b)
        loss += row[static_cast<Index>(a)] * hessian[at(a, b, n)] * change[at(i, b, n)];
    }
  }
  return loss / 2;
}

double reconstruction_loss(const std::vector<double>& weight, const std::vector<double>& initial,
                           const std::vector<double>& hessian, std::int64_t d_row, std::int64_t n) {
  double loss = 0;
  for (std::int64_t i = 0; i < d_row; ++i) {
    for (std::int64_t a = 0; a < n; ++a) {
      const double left = weight[at(i, a, n)] - initial[at(i, a, n)];
      for (std::int64_t b = 0; b < n; ++b) {
        loss += left * hessian[at(a, b, n)] * (weight[at(i, b, n)] - initial[at(i, b, n)]);
      }
    }
  }
  return loss / 2;
}

}  // namespace galapagos::test
