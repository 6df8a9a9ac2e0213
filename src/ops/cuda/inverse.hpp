#pragma once

#include "resources.hpp"

#include <cstdint>

// The inverse of a symmetric positive definite matrix H = L L^T by its Cholesky factor, in one of several
// ways that differ in speed and rounding. Row-major, lower triangles, in place; of float or double.
namespace galapagos::ops::cuda {

enum class InverseWay : std::uint8_t {
  potri,    ///< cuSOLVER's potri; blocked above potri_columns
  product,  ///< X = L^-1 by cuSOLVER's trtri, then X^T X by matrix products
  blocked,  ///< X = L^-1 by matrix products as well; no workspace but a block's
};

/// The way that invert_spd() goes: of 13,824 columns on an H100, after the factor, 64 ms beside 157 by potri
/// and 130 by the library's trtri (bench_database_gpu).
constexpr InverseWay inverse_way = InverseWay::blocked;

/// cuSOLVER's potri counts the elements of a matrix in 32 bits.
constexpr std::int64_t potri_columns = 46340;

/// L in the place of H; false where H is not positive definite. 64-bit, so that any matrix goes that fits.
template <typename T>
bool factor_lower(Resources& gpu, T* h, std::int64_t n);

/// (L L^T)^-1 in the place of L; false where the library finds L singular.
template <typename T>
bool invert_factor(Resources& gpu, T* l, std::int64_t n, InverseWay way);

/// X = L^-1 in the place of L by blocks, and X^T X in the place of X: the halves of InverseWay::blocked.
template <typename T>
void invert_lower(Resources& gpu, T* l, std::int64_t n);
template <typename T>
void square_lower(Resources& gpu, T* x, std::int64_t n);

}  // namespace galapagos::ops::cuda
