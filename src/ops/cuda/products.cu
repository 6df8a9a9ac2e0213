#include "../backends.hpp"
#include "products.hpp"
#include "tuning.hpp"

#include <algorithm>

namespace galapagos::ops::cuda {
namespace {

cudaDataType_t data_type(DType type) {
  switch (type) {
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    case DType::f32:
      break;
  }
  return CUDA_R_32F;
}

}  // namespace

DType product_type(const Context& context, const Tensor& weight, const Tensor& result) {
  return weight.dtype == DType::f32 && result.dtype == DType::f32 ? context.products() : DType::bf16;
}

Operand::Operand(const Context& context, const Tensor& tensor, DType type) : view_(tensor) {
  if (tensor.dtype == type) return;
  copy_ = OwnedTensor(tensor.shape, type, Device::cuda, "a matrix in another precision");
  cuda::convert(context, tensor, copy_);
  view_ = copy_;
}

Operand::Operand(const Context& context, const Factor& factor, DType type) : view_(factor.values()) {
  if (view_.dtype == type) return;
  OwnedTensor& kept = factor.converted();
  if (kept->data == nullptr || kept->dtype != type) {
    kept = OwnedTensor(view_.shape, type, Device::cuda, "a matrix in another precision");
    cuda::convert(context, view_, kept);
  }
  view_ = kept;
}

Result::Result(const Tensor& tensor, DType type) : view_(tensor), wanted_(tensor) {
  if (tensor.dtype == type) return;
  copy_ = OwnedTensor(tensor.shape, type, Device::cuda, "a result in another precision");
  view_ = copy_;
}

void Result::finish(const Context& context) const {
  if (view_.data != wanted_.data) cuda::convert(context, view_, wanted_);
}

void gemm(Resources& gpu, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          float alpha, const void* a, std::int64_t lda, const void* b, std::int64_t ldb, DType type,
          float beta, void* c, DType c_type, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  // A row-major matrix is the transpose of a column-major one: C^T = op(B)^T op(A)^T.
  const auto operation = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  check_blas(cublasGemmEx(gpu.blas(), operation(transpose_b), operation(transpose_a), static_cast<int>(n),
                          static_cast<int>(m), static_cast<int>(k), &alpha, b, data_type(type),
                          static_cast<int>(ldb), a, data_type(type), static_cast<int>(lda), &beta, c,
                          data_type(c_type), static_cast<int>(ldc), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
             "cublasGemmEx");
}

void gemm(Resources& gpu, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          float alpha, const void* a, std::int64_t lda, const void* b, std::int64_t ldb, DType type,
          float beta, float* c, std::int64_t ldc) {
  gemm(gpu, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, type, beta, c, DType::f32, ldc);
}

void add_lower_gram(Resources& gpu, std::int64_t n, std::int64_t k, float alpha, const void* a, DType type,
                    float* c) {
  if (n == 0 || k == 0) return;
  if (type == DType::f32) {
    const float one = 1;
    check_blas(
        cublasSsyrk(gpu.blas(), CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_N, static_cast<int>(n), static_cast<int>(k),
                    &alpha, static_cast<const float*>(a), static_cast<int>(n), &one, c, static_cast<int>(n)),
        "cublasSsyrk");
    return;
  }
  // cuBLAS has no such product of 16-bit matrices: by panels from the diagonal downwards.
  for (std::int64_t first = 0; first < n; first += product_panel) {
    const void* from = static_cast<const std::byte*>(a) + static_cast<std::size_t>(first) * size_of(type);
    gemm(gpu, true, false, n - first, std::min(product_panel, n - first), k, alpha, from, n, from, n, type,
         1.0f, c + first * n + first, n);
  }
}

namespace {

void solve_left(Resources& gpu, cublasOperation_t operation, std::int64_t m, std::int64_t n, const float* l,
                float* b) {
  if (m == 0 || n == 0) return;
  const float one = 1;
  check_blas(cublasStrsm(gpu.blas(), CUBLAS_SIDE_RIGHT, CUBLAS_FILL_MODE_UPPER, operation,
                         CUBLAS_DIAG_NON_UNIT, static_cast<int>(n), static_cast<int>(m), &one, l,
                         static_cast<int>(m), b, static_cast<int>(n)),
             "cublasStrsm");
}

}  // namespace

void solve_lower_left(Resources& gpu, std::int64_t m, std::int64_t n, const float* l, float* b) {
  solve_left(gpu, CUBLAS_OP_N, m, n, l, b);
}

void solve_lower_transposed_left(Resources& gpu, std::int64_t m, std::int64_t n, const float* l, float* b) {
  solve_left(gpu, CUBLAS_OP_T, m, n, l, b);
}

}  // namespace galapagos::ops::cuda
