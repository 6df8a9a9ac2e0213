#pragma once

#include <cstdint>
#include <vector>

namespace galapagos::test {

/// The oracle of structured OBS: fp64, one structure at a time, the textbook update on full matrices, nothing
/// shared with the program. weight [d_row, n] and hessian [n, n] row-major; `round` as in ObsProblem.
struct Fp64Obs {
  Fp64Obs(std::vector<double> weight, std::vector<double> hessian, std::int64_t d_row, std::int64_t n,
          std::int64_t unit, double relative_damping);

  /// Removes the structure of least score; restricted to structures for which allowed[g] is true.
  void remove_best(const std::vector<bool>& allowed);
  void remove_best() { remove_best(std::vector<bool>(static_cast<std::size_t>(n / unit), true)); }
  /// trace(G W_:G (M_GG)^-1 W_:G^T), G = `metric`.
  double score(std::int64_t structure) const { return score(structure, metric); }
  double score(std::int64_t structure, const std::vector<double>& form) const;

  std::int64_t d_row, n, unit;
  std::vector<double> weight;   // current W
  std::vector<double> initial;  // W after dead columns were zeroed
  std::vector<double> damped;   // H with its damping
  std::vector<double> inverse;  // M
  std::vector<double> metric;   // G [d_row, d_row], which weighs the choice; empty: the identity
  std::vector<bool> gone;
  std::vector<std::int64_t> order;
  double loss = 0;
};

/// Inverse of an [n, n] matrix by Gauss-Jordan elimination with pivoting.
std::vector<double> inverse_of(std::vector<double> matrix, std::int64_t n);

/// W0 H_:K (H_KK)^-1 [d_row, kept]: the optimal weight on the kept columns, in closed form.
std::vector<double> optimal_weight(const std::vector<double>& weight, const std::vector<double>& hessian,
                                   std::int64_t d_row, std::int64_t n, const std::vector<std::int64_t>& kept);

/// tr(G (W - W0) H (W - W0)^T) / 2.
double end_loss(const std::vector<double>& metric, const std::vector<double>& weight,
                const std::vector<double>& initial, const std::vector<double>& hessian, std::int64_t d_row,
                std::int64_t n);

/// tr((W - W0) H (W - W0)^T) / 2.
double reconstruction_loss(const std::vector<double>& weight, const std::vector<double>& initial,
                           const std::vector<double>& hessian, std::int64_t d_row, std::int64_t n);

}  // namespace galapagos::test
