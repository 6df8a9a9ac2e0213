#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <galapagos/search/rank_correlation.hpp>
#include <galapagos/search/surrogate.hpp>

namespace galapagos {
namespace {

using Vector = std::vector<double>;

constexpr double ridges[] = {1e-4, 1e-3, 1e-2, 1e-1, 1, 1e1, 1e2, 1e3};

double dot(const double* a, const double* b, std::size_t count) {
  return std::inner_product(a, a + count, b, 0.0);
}

/// The Cholesky factor of a positive definite matrix, of which the lower triangle counts.
class Factor {
 public:
  /// `matrix` [size, size], row by row.
  Factor(Vector matrix, std::size_t size) : lower_(std::move(matrix)), size_(size) {
    for (std::size_t row = 0; row < size; ++row) {
      for (std::size_t column = 0; column <= row; ++column) {
        const double rest = at(row)[column] - dot(at(row), at(column), column);
        at(row)[column] = row == column ? std::sqrt(rest) : rest / at(column)[column];
      }
    }
  }

  /// L^-1 x in place.
  void forward(Vector& x) const {
    for (std::size_t row = 0; row < size_; ++row) {
      x[row] = (x[row] - dot(at(row), x.data(), row)) / at(row)[row];
    }
  }
  /// L^-T x in place.
  void back(Vector& x) const {
    for (std::size_t row = size_; row-- > 0;) {
      x[row] /= at(row)[row];
      for (std::size_t column = 0; column < row; ++column) x[column] -= at(row)[column] * x[row];
    }
  }

 private:
  double* at(std::size_t row) { return lower_.data() + row * size_; }
  const double* at(std::size_t row) const { return lower_.data() + row * size_; }

  Vector lower_;
  std::size_t size_;
};

/// Centred features and targets with what they give for any ridge.
struct Regression {
  std::vector<Vector> rows;  // [measurements, features]
  Vector mean_row;
  Vector targets;
  double mean_target = 0;
  Vector products;  // X^T X, the lower triangle
  Vector right;     // X^T y

  Regression(std::vector<Vector> features, Vector values);

  struct Fit {
    Vector weights;
    Vector left_out;  // residuals, each without its own measurement
  };
  Fit fit(double ridge) const;
};

Regression::Regression(std::vector<Vector> features, Vector values)
    : rows(std::move(features)), targets(std::move(values)) {
  const std::size_t count = rows.front().size();
  const auto number = static_cast<double>(rows.size());
  mean_row.assign(count, 0.0);
  for (const Vector& row : rows) {
    for (std::size_t i = 0; i < count; ++i) mean_row[i] += row[i] / number;
  }
  mean_target = std::accumulate(targets.begin(), targets.end(), 0.0) / number;
  products.assign(count * count, 0.0);
  right.assign(count, 0.0);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    Vector& row = rows[r];
    targets[r] -= mean_target;
    for (std::size_t i = 0; i < count; ++i) row[i] -= mean_row[i];
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t j = 0; j <= i; ++j) products[i * count + j] += row[i] * row[j];
      right[i] += row[i] * targets[r];
    }
  }
}

/// The residual without measurement i is that with it over 1 - h_i, h_i = 1/n + x_i^T (X^T X + ridge I)^-1
/// x_i.
Regression::Fit Regression::fit(double ridge) const {
  const std::size_t count = right.size();
  Vector matrix = products;
  for (std::size_t i = 0; i < count; ++i) matrix[i * count + i] += ridge;
  const Factor factor(std::move(matrix), count);
  Fit found{right, {}};
  factor.forward(found.weights);
  factor.back(found.weights);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    Vector half = rows[r];
    factor.forward(half);
    const double leverage = 1 / static_cast<double>(rows.size()) + dot(half.data(), half.data(), half.size());
    const double residual = targets[r] - dot(rows[r].data(), found.weights.data(), count);
    // A measurement alone says nothing of itself.
    found.left_out.push_back(rows.size() > 1 ? residual / (1 - leverage) : residual);
  }
  return found;
}

double squares(const Vector& values) {
  return dot(values.data(), values.data(), values.size());
}

}  // namespace

Surrogate::Surrogate(const SearchSpace& space, std::span<const Measurement> archive,
                     std::optional<double> ridge) {
  double all = 0, number = 0;
  for (const ModuleChoices& module : space.modules) {
    end_losses_.push_back(module.end_loss);
    all += squares(module.end_loss);
    number += static_cast<double>(module.end_loss.size());
  }
  if (all > 0) scale_ = std::sqrt(all / number);
  weights_.assign(2 * end_losses_.size() - 1, 0.0);
  std::vector<Vector> rows;
  Vector corrections, measured;
  for (const Measurement& measurement : archive) {
    if (!std::isfinite(measurement.loss)) continue;
    rows.push_back(features(measurement.assignment));
    corrections.push_back(measurement.loss - sum(measurement.assignment));
    measured.push_back(measurement.loss);
  }
  if (rows.empty()) {
    left_out_correlation_ = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  const Regression regression(std::move(rows), corrections);
  Regression::Fit best;
  double least = std::numeric_limits<double>::infinity();
  const std::span<const double> tried = ridge ? std::span<const double>(&*ridge, 1) : std::span(ridges);
  for (const double one : tried) {
    Regression::Fit fit = regression.fit(one);
    const double error = squares(fit.left_out);
    if (!(error < least) && !best.weights.empty()) continue;
    least = error;
    best = std::move(fit);
    ridge_ = one;
  }
  weights_ = best.weights;
  constant_ = regression.mean_target - dot(weights_.data(), regression.mean_row.data(), weights_.size());
  for (std::size_t i = 0; i < measured.size(); ++i) left_out_.push_back(measured[i] - best.left_out[i]);
  left_out_correlation_ = rank_sums(left_out_, measured).correlation();
}

double Surrogate::sum(const Assignment& assignment) const {
  double total = 0;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    total += end_losses_[i][static_cast<std::size_t>(assignment[i])];
  }
  return total;
}

std::vector<double> Surrogate::features(const Assignment& assignment) const {
  Vector values;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    values.push_back(end_losses_[i][static_cast<std::size_t>(assignment[i])] / scale_);
  }
  for (std::size_t i = 0; i + 1 < assignment.size(); ++i) values.push_back(values[i] * values[i + 1]);
  return values;
}

double Surrogate::loss(const Assignment& assignment) const {
  const Vector values = features(assignment);
  return sum(assignment) + constant_ + dot(values.data(), weights_.data(), values.size());
}

}  // namespace galapagos
