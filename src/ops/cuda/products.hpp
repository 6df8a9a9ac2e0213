#pragma once

#include "resources.hpp"

#include <cstdint>

#include <galapagos/ops/factor.hpp>

// Matrix products of row-major matrices on a GPU, over cuBLAS.
namespace galapagos::ops::cuda {

/// What the operands of a product by a weight are rounded to. A result of 16 bits is worth no other operands;
/// fp16 would not hold what bf16 does.
DType product_type(const Context& context, const Tensor& weight, const Tensor& result);

/// A matrix as the operand of a product: itself, or a copy in another type.
class Operand {
 public:
  Operand(const Context& context, const Tensor& tensor, DType type);
  /// The copy is the factor's.
  Operand(const Context& context, const Factor& factor, DType type);

  const Tensor& view() const { return view_; }
  const std::byte* data() const { return view_.data; }
  /// From element `offset` on.
  const std::byte* at(std::int64_t offset) const {
    return view_.data + static_cast<std::size_t>(offset) * size_of(view_.dtype);
  }
  DType type() const { return view_.dtype; }

 private:
  OwnedTensor copy_;
  Tensor view_;
};

/// Where an operation writes a tensor in another type than its own: itself, or a place from which finish()
/// rounds it.
class Result {
 public:
  Result(const Tensor& tensor, DType type);

  const Tensor& view() const { return view_; }
  void finish(const Context& context) const;

 private:
  OwnedTensor copy_;
  Tensor view_, wanted_;
};

/// C [m, n] = alpha op(A) op(B) + beta C, A and B of one type, C fp32, or bf16 where they are; sums are fp32.
void gemm(Resources& gpu, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          float alpha, const void* a, std::int64_t lda, const void* b, std::int64_t ldb, DType type,
          float beta, void* c, DType c_type, std::int64_t ldc);
/// Of fp32.
void gemm(Resources& gpu, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          float alpha, const void* a, std::int64_t lda, const void* b, std::int64_t ldb, DType type,
          float beta, float* c, std::int64_t ldc);

/// Lower triangle of C [n, n] += alpha A^T A for A [k, n]; what lies above is undefined.
void add_lower_gram(Resources& gpu, std::int64_t n, std::int64_t k, float alpha, const void* a, DType type,
                    float* c);

/// B [m, n] = L^-1 B, L [m, m] lower triangular, fp32.
void solve_lower_left(Resources& gpu, std::int64_t m, std::int64_t n, const float* l, float* b);
/// B [m, n] = L^-T B, likewise.
void solve_lower_transposed_left(Resources& gpu, std::int64_t m, std::int64_t n, const float* l, float* b);

}  // namespace galapagos::ops::cuda
