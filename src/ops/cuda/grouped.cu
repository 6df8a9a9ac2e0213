#include "../backends.hpp"
#include "../grouped_parts.hpp"
#include "products.hpp"

#include <vector>

namespace galapagos::ops::cuda {
namespace {

/// C [m, n] = op(A) op(B) + beta C of one expert, row-major.
struct Product {
  std::int64_t m, n, k;
  const std::byte *a, *b;
  std::int64_t lda, ldb;
  std::byte* c;
  std::int64_t ldc;
};

/// The products of several experts, with operands and results of one type, in one call of cuBLAS.
class Together {
 public:
  Together(Resources& gpu, DType type, bool transpose_a, bool transpose_b, float beta)
      : gpu_(gpu), type_(type), transpose_a_(transpose_a), transpose_b_(transpose_b), beta_(beta) {}

  /// False where cuBLAS has no such call for it.
  bool takes(const Product& product, DType type) {
    if (!has_call || type != type_ || !aligned(product)) return false;
    products_.push_back(product);
    return true;
  }
  void run() const;

 private:
#if CUBLAS_VERSION >= 120500
  static constexpr bool has_call = true;
#else
  static constexpr bool has_call = false;
#endif

  /// Matrices of 16 bits are read, and written, 16 bytes at a time.
  bool aligned(const Product& p) const {
    if (type_ == DType::f32) return true;
    const auto rows = static_cast<std::size_t>(p.lda | p.ldb | p.ldc) * size_of(type_);
    const auto places = reinterpret_cast<std::uintptr_t>(p.a) | reinterpret_cast<std::uintptr_t>(p.b) |
                        reinterpret_cast<std::uintptr_t>(p.c);
    return (rows | places) % 16 == 0;
  }

  Resources& gpu_;
  DType type_;
  bool transpose_a_, transpose_b_;
  float beta_;
  std::vector<Product> products_;
};

void Together::run() const {
#if CUBLAS_VERSION >= 120500
  if (products_.empty()) return;
  // A row-major matrix is the transpose of a column-major one: C^T = op(B)^T op(A)^T.
  const std::size_t count = products_.size();
  const auto operations = [count](bool transposed) {
    return std::vector<cublasOperation_t>(count, transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  };
  const auto extents = [this](std::int64_t Product::*extent) {
    std::vector<int> all;
    for (const Product& product : products_) all.push_back(static_cast<int>(product.*extent));
    return all;
  };
  std::vector<const void*> operands;  // all B, then all A
  for (const Product& product : products_) operands.push_back(product.b);
  for (const Product& product : products_) operands.push_back(product.a);
  std::vector<void*> results;
  for (const Product& product : products_) results.push_back(product.c);
  const Array<const void*> from = gpu_.upload<const void*>(operands);
  const Array<void*> to = gpu_.upload<void*>(results);
  const std::vector<float> alpha(count, 1.0f), beta(count, beta_);
  const std::vector<int> one_each(count, 1);
  const cudaDataType_t type = type_ == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
  check_blas(cublasGemmGroupedBatchedEx(
                 gpu_.blas(), operations(transpose_b_).data(), operations(transpose_a_).data(),
                 extents(&Product::n).data(), extents(&Product::m).data(), extents(&Product::k).data(),
                 alpha.data(), from.data(), type, extents(&Product::ldb).data(), from.data() + count, type,
                 extents(&Product::lda).data(), beta.data(), to.data(), type, extents(&Product::ldc).data(),
                 static_cast<int>(count), one_each.data(), CUBLAS_COMPUTE_32F),
             "cublasGemmGroupedBatchedEx");
#endif
}

/// Whether a product of a weight is one of operands and results of type `type` as they are.
bool plain(const Context& context, const Tensor& weight, const Tensor& result, DType type) {
  return weight.dtype == type && result.dtype == type && product_type(context, weight, result) == type;
}

}  // namespace

void grouped_linear(const Context& context, const Factor& x, std::span<const std::int64_t> rows,
                    std::span<const GroupedProduct> products, bool accumulate) {
  if (products.empty()) return;
  const DType type = products[0].y.dtype;
  Together together(context.cuda(), type, false, true, accumulate ? 1.0f : 0.0f);
  for (const GroupedProduct& product : products) {
    for (const GroupedPart& part : grouped_parts(rows, product.weights)) {
      const Tensor& weight = product.weights[part.expert];
      const Tensor y = part.of_outputs(product.y);
      if (part.in > 0 && part.out > 0 && plain(context, weight, y, type)) {
        const Operand a(context, x, type);
        if (together.takes({part.rows, part.out, part.in, a.at(part.first_in), weight.data, part.in, part.in,
                            y.data, part.out},
                           type))
          continue;
      }
      cuda::linear(context, part.of_inputs(x.values()), weight, nullptr, y, accumulate);
    }
  }
  together.run();
}

void grouped_input_gradient(const Context& context, const Factor& d_y, std::span<const std::int64_t> rows,
                            std::span<const Tensor> weights, const Tensor& d_x, bool accumulate) {
  const DType type = d_x.dtype;
  Together together(context.cuda(), type, false, false, accumulate ? 1.0f : 0.0f);
  for (const GroupedPart& part : grouped_parts(rows, weights)) {
    const Tensor& weight = weights[part.expert];
    const Tensor to = part.of_inputs(d_x);
    if (part.in > 0 && part.out > 0 && plain(context, weight, to, type)) {
      const Operand a(context, d_y, type);
      if (together.takes({part.rows, part.in, part.out, a.at(part.first_out), weight.data, part.out, part.in,
                          to.data, part.in},
                         type))
        continue;
    }
    cuda::linear_input_gradient(context, part.of_outputs(d_y.values()), weight, to, accumulate);
  }
  together.run();
}

void grouped_weight_gradient(const Context& context, const Factor& d_y, const Factor& x,
                             std::span<const std::int64_t> rows, std::span<const Tensor> d_weights) {
  // cuBLAS has no grouped call for operands of 16 bits and an fp32 result.
  const DType type = context.products();
  Together together(context.cuda(), DType::f32, true, false, 1.0f);
  const Operand a(context, d_y, type), b(context, x, type);
  for (const GroupedPart& part : grouped_parts(rows, d_weights)) {
    if (part.in == 0 || part.out == 0) continue;
    const Tensor& to = d_weights[part.expert];
    if (!together.takes({part.out, part.in, part.rows, a.at(part.first_out), b.at(part.first_in), part.out,
                         part.in, to.data, part.in},
                        type)) {
      gemm(context.cuda(), true, false, part.out, part.in, part.rows, 1.0f, a.at(part.first_out), part.out,
           b.at(part.first_in), part.in, type, 1.0f, to.floats(), part.in);
    }
  }
  together.run();
}

}  // namespace galapagos::ops::cuda
