#include "../backends.hpp"
#include "launch.cuh"
#include "products.hpp"
#include "stored.cuh"

namespace galapagos::ops::cuda {
namespace {

template <typename Stored>
__global__ void fill_with_bias(const Stored* bias, std::int64_t columns, std::int64_t count, float* y) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) y[i] = widen(bias[i % columns]);
}

}  // namespace

void linear(const Context& context, const Factor& x, const Tensor& weight, const Tensor* bias,
            const Tensor& y, bool accumulate) {
  Resources& gpu = context.cuda();
  const std::int64_t tokens = y.rows(), out = y.columns(), in = x->columns();
  float beta = accumulate ? 1.0f : 0.0f;
  if (bias != nullptr) {
    with_stored(bias->dtype, [&]<typename Stored>(const Stored*) {
      launch(gpu, fill_with_bias<Stored>, blocks_for(y.elements()), block_threads, 0, data_as<Stored>(*bias),
             out, y.elements(), y.floats());
    });
    beta = 1.0f;
  } else if (in == 0 && !accumulate) {
    fill_zero(y);
  }
  if (tokens == 0 || out == 0 || in == 0) return;
  const DType type = weight.dtype == DType::f32 ? context.products() : weight.dtype;
  const Operand a(context, x, type), b(context, weight, type);
  gemm(gpu, false, true, tokens, out, in, 1.0f, a.data(), in, b.data(), in, type, beta, y.floats(), out);
}

void accumulate_gram(const Context& context, const Tensor& x, float scale, const Tensor& h) {
  if (x.empty()) return;
  const Operand a(context, x, context.products());
  add_lower_gram(context.cuda(), x.columns(), x.rows(), scale, a.data(), a.type(), h.floats());
}

void linear_input_gradient(const Context& context, const Factor& d_y, const Tensor& weight, const Tensor& d_x,
                           bool accumulate) {
  const std::int64_t tokens = d_x.rows(), in = d_x.columns(), out = d_y->columns();
  if (tokens == 0 || in == 0) return;
  if (out == 0) {
    if (!accumulate) fill_zero(d_x);
    return;
  }
  // Gradients are too small for fp16.
  const DType type = weight.dtype == DType::f32 ? context.products() : DType::bf16;
  const Operand a(context, d_y, type), b(context, weight, type);
  gemm(context.cuda(), false, false, tokens, in, out, 1.0f, a.data(), out, b.data(), in, type,
       accumulate ? 1.0f : 0.0f, d_x.floats(), in);
}

void linear_weight_gradient(const Context& context, const Factor& d_y, const Factor& x,
                            const Tensor& d_weight) {
  const std::int64_t tokens = x->rows(), out = d_y->columns(), in = x->columns();
  if (tokens == 0 || out == 0 || in == 0) return;
  const DType type = context.products();
  const Operand a(context, d_y, type), b(context, x, type);
  gemm(context.cuda(), true, false, out, in, tokens, 1.0f, a.data(), out, b.data(), in, type, 1.0f,
       d_weight.floats(), in);
}

}  // namespace galapagos::ops::cuda
