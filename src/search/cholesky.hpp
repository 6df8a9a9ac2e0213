#pragma once

#include <cstddef>
#include <vector>

namespace galapagos {

/// The Cholesky factor L of a small positive definite matrix, in fp64 and in an order that does not depend on
/// threads.
class Cholesky {
 public:
  /// `lower` has the matrix's lower triangle row by row; `diagonal` is added to its diagonal.
  Cholesky(std::vector<double> lower, const std::vector<double>& diagonal);

  /// The solution of L L^T x = right.
  std::vector<double> solve(std::vector<double> right) const;

 private:
  double* row(std::size_t i) { return lower_.data() + i * (i + 1) / 2; }
  const double* row(std::size_t i) const { return lower_.data() + i * (i + 1) / 2; }

  std::vector<double> lower_;
  std::size_t size_;
};

}  // namespace galapagos
