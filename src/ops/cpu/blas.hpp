#pragma once

#include <cstdint>
#include <functional>

namespace galapagos::ops::cpu {

// Row-major single-precision kernels over the Fortran BLAS, each call on one thread. Parallel work is made of
// many such calls on tiles whose extents depend on the operands' extents alone, so that results do not depend
// on the number of threads.

/// C [m, n] = alpha op(A) op(B) + beta C.
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
          const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
          std::int64_t ldc);
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha,
          const double* a, std::int64_t lda, const double* b, std::int64_t ldb, double beta, double* c,
          std::int64_t ldc);

/// Lower triangle of C [n, n] = alpha op(A) op(A)^T + beta C, op(A) [n, k].
void syrk_lower(bool transpose_a, std::int64_t n, std::int64_t k, float alpha, const float* a,
                std::int64_t lda, float beta, float* c, std::int64_t ldc);
void syrk_lower(bool transpose_a, std::int64_t n, std::int64_t k, double alpha, const double* a,
                std::int64_t lda, double beta, double* c, std::int64_t ldc);

/// B [m, n] = L^-1 B (left) or B = B L^-T (right), L lower triangular.
void solve_lower_left(std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl, float* b,
                      std::int64_t ldb);
void solve_lower_left(std::int64_t m, std::int64_t n, const double* l, std::int64_t ldl, double* b,
                      std::int64_t ldb);
void solve_lower_transposed_right(std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl, float* b,
                                  std::int64_t ldb);
void solve_lower_transposed_right(std::int64_t m, std::int64_t n, const double* l, std::int64_t ldl,
                                  double* b, std::int64_t ldb);

/// B [m, n] = L^-T B, L lower triangular.
void solve_lower_transposed_left(std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl, float* b,
                                 std::int64_t ldb);

/// C [m, n] = A B for a symmetric A [m, m] of which the lower triangle is read.
void symmetric_left(std::int64_t m, std::int64_t n, const float* a, std::int64_t lda, const float* b,
                    std::int64_t ldb, float* c, std::int64_t ldc);

/// B [m, n] = L B or L^T B, L lower triangular.
void multiply_lower_left(bool transposed, std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl,
                         float* b, std::int64_t ldb);
void multiply_lower_left(bool transposed, std::int64_t m, std::int64_t n, const double* l, std::int64_t ldl,
                         double* b, std::int64_t ldb);

/// B [m, n] = alpha B L, L lower triangular.
void multiply_lower_right(std::int64_t m, std::int64_t n, float alpha, const float* l, std::int64_t ldl,
                          float* b, std::int64_t ldb);
void multiply_lower_right(std::int64_t m, std::int64_t n, double alpha, const double* l, std::int64_t ldl,
                          double* b, std::int64_t ldb);

/// Cholesky factor L in the lower triangle of A [n, n]; false where A is not positive definite.
bool cholesky(std::int64_t n, float* a, std::int64_t lda);
bool cholesky(std::int64_t n, double* a, std::int64_t lda);

/// L^-1 in place of the lower triangular L [n, n].
void invert_lower(std::int64_t n, float* l, std::int64_t ldl);
void invert_lower(std::int64_t n, double* l, std::int64_t ldl);

/// Lower triangle of L^T L in place of the lower triangular L [n, n].
void multiply_transpose_by_lower(std::int64_t n, float* l, std::int64_t ldl);
void multiply_transpose_by_lower(std::int64_t n, double* l, std::int64_t ldl);

/// The extent of a tile for a matrix dimension.
std::int64_t tile_of(std::int64_t extent);

/// Calls work(row, rows, column, columns) for every tile of an [m, n] matrix, in parallel.
void for_tiles(std::int64_t m, std::int64_t n,
               const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& work);

/// The same for the tiles of [n, n] that hold part of the lower triangle; tiles on the diagonal are square.
void for_lower_tiles(std::int64_t n,
                     const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& work);

/// C [m, n] = alpha op(A) op(B) + beta C, tiled and in parallel.
void parallel_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   float alpha, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                   float beta, float* c, std::int64_t ldc);
void parallel_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   double alpha, const double* a, std::int64_t lda, const double* b, std::int64_t ldb,
                   double beta, double* c, std::int64_t ldc);

/// Lower triangle of C [n, n] += alpha op(A) op(A)^T, op(A) [n, k], tiled and in parallel.
void parallel_syrk_lower(bool transpose_a, std::int64_t n, std::int64_t k, float alpha, const float* a,
                         std::int64_t lda, float* c, std::int64_t ldc);
void parallel_syrk_lower(bool transpose_a, std::int64_t n, std::int64_t k, double alpha, const double* a,
                         std::int64_t lda, double* c, std::int64_t ldc);

/// Tells the BLAS library, where it has threads of its own, to use one.
void use_one_blas_thread();

}  // namespace galapagos::ops::cpu
