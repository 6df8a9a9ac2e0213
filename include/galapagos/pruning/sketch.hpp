#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <galapagos/tensor/tensor.hpp>

// A symmetric positive semidefinite G [n, n] from its products with a few vectors, which add up over ranks as
// G does: Y = G Omega and the diagonal of G, from which G ~ F F^T + diag(r) (Tropp, Yurtsever, Udell, Cevher,
// "Fixed-rank approximation of a positive-semidefinite matrix from streaming data", 2017, algorithms 1 to 3).
namespace galapagos {

/// Omega^T [rank, n] fp32 in host memory: Gaussian, its rows then made orthonormal; the same on every rank.
OwnedTensor sketch_matrix(std::uint64_t seed, std::int64_t rank, std::int64_t n);

/// Numbers of a sketch, and of what is made of it: [n, rank] and [n].
constexpr std::uint64_t sketch_values(std::int64_t rank, std::int64_t n) {
  return static_cast<std::uint64_t>(n * (rank + 1));
}

/// Replaces Y [n, rank] and G's diagonal [n] behind it by F [n, rank] and r [n] >= 0: F F^T is the Nystroem
/// approximation Y (Omega^T Y)^-1 Y^T, of G shifted by a multiple of the identity so that it can be factored
/// and shifted back, and r what it lacks of the diagonal. In fp64 inside. NumericalError, naming `name`,
/// where Y is not finite or not of a positive semidefinite G.
void finish_sketch(const Tensor& matrix, std::span<float> values, const std::string& name);

/// The lower triangle of F F^T + diag(r), row by row.
std::vector<float> lower_of_sketch(std::span<const float> values, std::int64_t rank, std::int64_t n);

}  // namespace galapagos
