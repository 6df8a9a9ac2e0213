#include "blas.hpp"

#include <algorithm>

#include <galapagos/ops/context.hpp>

extern "C" {
using Int = int;
void sgemm_(const char*, const char*, const Int*, const Int*, const Int*, const float*, const float*,
            const Int*, const float*, const Int*, const float*, float*, const Int*);
void dgemm_(const char*, const char*, const Int*, const Int*, const Int*, const double*, const double*,
            const Int*, const double*, const Int*, const double*, double*, const Int*);
void ssyrk_(const char*, const char*, const Int*, const Int*, const float*, const float*, const Int*,
            const float*, float*, const Int*);
void dsyrk_(const char*, const char*, const Int*, const Int*, const double*, const double*, const Int*,
            const double*, double*, const Int*);
void ssymm_(const char*, const char*, const Int*, const Int*, const float*, const float*, const Int*,
            const float*, const Int*, const float*, float*, const Int*);
void strsm_(const char*, const char*, const char*, const char*, const Int*, const Int*, const float*,
            const float*, const Int*, float*, const Int*);
void dtrsm_(const char*, const char*, const char*, const char*, const Int*, const Int*, const double*,
            const double*, const Int*, double*, const Int*);
void strmm_(const char*, const char*, const char*, const char*, const Int*, const Int*, const float*,
            const float*, const Int*, float*, const Int*);
void dtrmm_(const char*, const char*, const char*, const char*, const Int*, const Int*, const double*,
            const double*, const Int*, double*, const Int*);
void spotrf_(const char*, const Int*, float*, const Int*, Int*);
void dpotrf_(const char*, const Int*, double*, const Int*, Int*);
void slauum_(const char*, const Int*, float*, const Int*, Int*);
void dlauum_(const char*, const Int*, double*, const Int*, Int*);
void strtri_(const char*, const char*, const Int*, float*, const Int*, Int*);
void dtrtri_(const char*, const char*, const Int*, double*, const Int*, Int*);
#ifdef GALAPAGOS_OPENBLAS
void openblas_set_num_threads(int);
char* openblas_get_config(void);
#endif
}

namespace galapagos::ops::cpu {
namespace {

Int as_int(std::int64_t value) {
  return static_cast<Int>(value);
}

// Fortran sees the transpose of a row-major matrix: C^T = op(B)^T op(A)^T, and our lower triangle is its
// upper one.
template <typename T, typename Gemm>
void row_major_gemm(Gemm gemm_routine, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n,
                    std::int64_t k, T alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb,
                    T beta, T* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  const Int rows = as_int(n), columns = as_int(m), inner = as_int(k);
  const Int first = as_int(std::max<std::int64_t>(ldb, 1)), second = as_int(std::max<std::int64_t>(lda, 1));
  const Int third = as_int(ldc);
  gemm_routine(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &rows, &columns, &inner, &alpha, b, &first,
               a, &second, &beta, c, &third);
}

template <typename T, typename Syrk>
void row_major_syrk(Syrk syrk_routine, bool transpose_a, std::int64_t n, std::int64_t k, T alpha, const T* a,
                    std::int64_t lda, T beta, T* c, std::int64_t ldc) {
  if (n == 0) return;
  const Int order = as_int(n), inner = as_int(k), first = as_int(std::max<std::int64_t>(lda, 1)),
            second = as_int(ldc);
  syrk_routine("U", transpose_a ? "N" : "T", &order, &inner, &alpha, a, &first, &beta, c, &second);
}

template <typename T, typename Trsm>
void row_major_trsm(Trsm trsm_routine, bool left, bool transposed, std::int64_t m, std::int64_t n, const T* l,
                    std::int64_t ldl, T* b, std::int64_t ldb) {
  if (m == 0 || n == 0) return;
  const Int rows = as_int(n), columns = as_int(m), first = as_int(ldl), second = as_int(ldb);
  const T one = 1;
  trsm_routine(left ? "R" : "L", "U", transposed ? "T" : "N", "N", &rows, &columns, &one, l, &first, b,
               &second);
}

template <typename T, typename Trmm>
void row_major_trmm(Trmm trmm_routine, bool left, bool transposed, std::int64_t m, std::int64_t n, T alpha,
                    const T* l, std::int64_t ldl, T* b, std::int64_t ldb) {
  if (m == 0 || n == 0) return;
  const Int rows = as_int(n), columns = as_int(m), first = as_int(ldl), second = as_int(ldb);
  trmm_routine(left ? "R" : "L", "U", transposed ? "T" : "N", "N", &rows, &columns, &alpha, l, &first, b,
               &second);
}

template <typename T, typename Potrf>
bool row_major_potrf(Potrf potrf_routine, std::int64_t n, T* a, std::int64_t lda) {
  if (n == 0) return true;
  const Int order = as_int(n), leading = as_int(lda);
  Int info = 0;
  potrf_routine("U", &order, a, &leading, &info);
  return info == 0;
}

template <typename T, typename Lauum>
void row_major_lauum(Lauum lauum_routine, std::int64_t n, T* l, std::int64_t ldl) {
  if (n == 0) return;
  const Int order = as_int(n), leading = as_int(ldl);
  Int info = 0;
  lauum_routine("U", &order, l, &leading, &info);
}

template <typename T, typename Trtri>
void row_major_trtri(Trtri trtri_routine, std::int64_t n, T* l, std::int64_t ldl) {
  if (n == 0) return;
  const Int order = as_int(n), leading = as_int(ldl);
  Int info = 0;
  trtri_routine("U", "N", &order, l, &leading, &info);
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
          const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
          std::int64_t ldc) {
  row_major_gemm(sgemm_, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha,
          const double* a, std::int64_t lda, const double* b, std::int64_t ldb, double beta, double* c,
          std::int64_t ldc) {
  row_major_gemm(dgemm_, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void syrk_lower(bool transpose_a, std::int64_t n, std::int64_t k, float alpha, const float* a,
                std::int64_t lda, float beta, float* c, std::int64_t ldc) {
  row_major_syrk(ssyrk_, transpose_a, n, k, alpha, a, lda, beta, c, ldc);
}

void syrk_lower(bool transpose_a, std::int64_t n, std::int64_t k, double alpha, const double* a,
                std::int64_t lda, double beta, double* c, std::int64_t ldc) {
  row_major_syrk(dsyrk_, transpose_a, n, k, alpha, a, lda, beta, c, ldc);
}

void solve_lower_left(std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl, float* b,
                      std::int64_t ldb) {
  row_major_trsm(strsm_, true, false, m, n, l, ldl, b, ldb);
}

void solve_lower_left(std::int64_t m, std::int64_t n, const double* l, std::int64_t ldl, double* b,
                      std::int64_t ldb) {
  row_major_trsm(dtrsm_, true, false, m, n, l, ldl, b, ldb);
}

void solve_lower_transposed_right(std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl, float* b,
                                  std::int64_t ldb) {
  row_major_trsm(strsm_, false, true, m, n, l, ldl, b, ldb);
}

void solve_lower_transposed_right(std::int64_t m, std::int64_t n, const double* l, std::int64_t ldl,
                                  double* b, std::int64_t ldb) {
  row_major_trsm(dtrsm_, false, true, m, n, l, ldl, b, ldb);
}

void solve_lower_transposed_left(std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl, float* b,
                                 std::int64_t ldb) {
  row_major_trsm(strsm_, true, true, m, n, l, ldl, b, ldb);
}

void symmetric_left(std::int64_t m, std::int64_t n, const float* a, std::int64_t lda, const float* b,
                    std::int64_t ldb, float* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  const Int rows = as_int(n), columns = as_int(m), first = as_int(lda), second = as_int(ldb),
            third = as_int(ldc);
  const float one = 1, zero = 0;
  ssymm_("R", "U", &rows, &columns, &one, a, &first, b, &second, &zero, c, &third);
}

void multiply_lower_left(bool transposed, std::int64_t m, std::int64_t n, const float* l, std::int64_t ldl,
                         float* b, std::int64_t ldb) {
  row_major_trmm(strmm_, true, transposed, m, n, 1.0f, l, ldl, b, ldb);
}
void multiply_lower_left(bool transposed, std::int64_t m, std::int64_t n, const double* l, std::int64_t ldl,
                         double* b, std::int64_t ldb) {
  row_major_trmm(dtrmm_, true, transposed, m, n, 1.0, l, ldl, b, ldb);
}

void multiply_lower_right(std::int64_t m, std::int64_t n, float alpha, const float* l, std::int64_t ldl,
                          float* b, std::int64_t ldb) {
  row_major_trmm(strmm_, false, false, m, n, alpha, l, ldl, b, ldb);
}
void multiply_lower_right(std::int64_t m, std::int64_t n, double alpha, const double* l, std::int64_t ldl,
                          double* b, std::int64_t ldb) {
  row_major_trmm(dtrmm_, false, false, m, n, alpha, l, ldl, b, ldb);
}

bool cholesky(std::int64_t n, float* a, std::int64_t lda) {
  return row_major_potrf(spotrf_, n, a, lda);
}
bool cholesky(std::int64_t n, double* a, std::int64_t lda) {
  return row_major_potrf(dpotrf_, n, a, lda);
}

void invert_lower(std::int64_t n, float* l, std::int64_t ldl) {
  row_major_trtri(strtri_, n, l, ldl);
}
void invert_lower(std::int64_t n, double* l, std::int64_t ldl) {
  row_major_trtri(dtrtri_, n, l, ldl);
}

void multiply_transpose_by_lower(std::int64_t n, float* l, std::int64_t ldl) {
  row_major_lauum(slauum_, n, l, ldl);
}
void multiply_transpose_by_lower(std::int64_t n, double* l, std::int64_t ldl) {
  row_major_lauum(dlauum_, n, l, ldl);
}

std::int64_t tile_of(std::int64_t extent) {
  return std::clamp<std::int64_t>((extent / 8 + 63) / 64 * 64, 64, 512);
}

void for_tiles(std::int64_t m, std::int64_t n,
               const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& work) {
  const std::int64_t tall = tile_of(m), wide = tile_of(n);
  const std::int64_t down = (m + tall - 1) / tall, across = (n + wide - 1) / wide;
#pragma omp parallel for schedule(dynamic) if (down * across > 1)
  for (std::int64_t tile = 0; tile < down * across; ++tile) {
    const std::int64_t row = tile / across * tall, column = tile % across * wide;
    work(row, std::min(tall, m - row), column, std::min(wide, n - column));
  }
}

void for_lower_tiles(
    std::int64_t n, const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& work) {
  const std::int64_t side = tile_of(n);
  const std::int64_t down = (n + side - 1) / side;
#pragma omp parallel for schedule(dynamic) if (down > 1)
  for (std::int64_t tile = 0; tile < down * down; ++tile) {
    const std::int64_t row = tile / down * side, column = tile % down * side;
    if (column <= row) work(row, std::min(side, n - row), column, std::min(side, n - column));
  }
}

namespace {

template <typename T>
void tiled_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, T alpha,
                const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
  for_tiles(m, n, [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    gemm(transpose_a, transpose_b, rows, columns, k, alpha, transpose_a ? a + row : a + row * lda, lda,
         transpose_b ? b + column * ldb : b + column, ldb, beta, c + row * ldc + column, ldc);
  });
}

template <typename T>
void tiled_syrk(bool transpose_a, std::int64_t n, std::int64_t k, T alpha, const T* a, std::int64_t lda, T* c,
                std::int64_t ldc) {
  for_lower_tiles(n, [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    const T *left = transpose_a ? a + row : a + row * lda,
            *right = transpose_a ? a + column : a + column * lda;
    T* tile = c + row * ldc + column;
    if (row == column) {
      syrk_lower(transpose_a, rows, k, alpha, left, lda, T(1), tile, ldc);
    } else {
      gemm(transpose_a, !transpose_a, rows, columns, k, alpha, left, lda, right, lda, T(1), tile, ldc);
    }
  });
}

}  // namespace

void parallel_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   float alpha, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                   float beta, float* c, std::int64_t ldc) {
  tiled_gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void parallel_gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   double alpha, const double* a, std::int64_t lda, const double* b, std::int64_t ldb,
                   double beta, double* c, std::int64_t ldc) {
  tiled_gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void parallel_syrk_lower(bool transpose_a, std::int64_t n, std::int64_t k, float alpha, const float* a,
                         std::int64_t lda, float* c, std::int64_t ldc) {
  tiled_syrk(transpose_a, n, k, alpha, a, lda, c, ldc);
}
void parallel_syrk_lower(bool transpose_a, std::int64_t n, std::int64_t k, double alpha, const double* a,
                         std::int64_t lda, double* c, std::int64_t ldc) {
  tiled_syrk(transpose_a, n, k, alpha, a, lda, c, ldc);
}

void use_one_blas_thread() {
#ifdef GALAPAGOS_OPENBLAS
  openblas_set_num_threads(1);
#endif
}

}  // namespace galapagos::ops::cpu

namespace galapagos::ops {

std::string blas_version() {
#ifdef GALAPAGOS_OPENBLAS
  return openblas_get_config();
#else
  return "reference interface";
#endif
}

}  // namespace galapagos::ops
