#include "../backends.hpp"
#include "packs.cuh"
#include "products.hpp"

namespace galapagos::ops::cuda {
namespace {

template <int size, typename Stored, typename Out>
__global__ void put_bias(const Stored* bias, std::int64_t columns, std::int64_t count, bool accumulate,
                         Out* y) {
  const std::int64_t width = columns / size;
  for (std::int64_t i = global_thread(); i < count / size; i += global_threads()) {
    float values[size];
    load_pack(bias + i % width * size, values);
    if (accumulate) {
      float before[size];
      load_pack(y + i * size, before);
#pragma unroll
      for (int j = 0; j < size; ++j) values[j] += before[j];
    }
    store_pack(values, y + i * size);
  }
}

void put(const Context& context, const Tensor& bias, const Tensor& y, bool accumulate) {
  const auto run = [&]<int size, typename Stored, typename Out>(PackSize<size>, const Stored*, const Out*) {
    launch(context.cuda(), put_bias<size, Stored, Out>, blocks_for(y.elements() / size), block_threads, 0,
           data_as<Stored>(bias), y.columns(), y.elements(), accumulate, data_as<Out>(y));
  };
  const bool packs = y.columns() % pack_size == 0 && aligned_for_packs(bias.data, y.data);
  with_pack_size(packs, [&](auto size) {
    with_stored(bias.dtype, [&](const auto* stored) {
      with_stored(y.dtype, [&](const auto* written) { run(size, stored, written); });
    });
  });
}

}  // namespace

void linear(const Context& context, const Factor& x, const Tensor& weight, const Tensor* bias,
            const Tensor& y, bool accumulate) {
  const std::int64_t tokens = y.rows(), out = y.columns(), in = x->columns();
  float beta = accumulate ? 1.0f : 0.0f;
  if (bias != nullptr) {
    put(context, *bias, y, accumulate);
    beta = 1.0f;
  } else if (in == 0 && !accumulate) {
    fill_zero(y);
  }
  if (tokens == 0 || out == 0 || in == 0) return;
  const DType type = product_type(context, weight, y);
  const Operand a(context, x, type), b(context, weight, type);
  gemm(context.cuda(), false, true, tokens, out, in, 1.0f, a.data(), in, b.data(), in, type, beta, y.data,
       y.dtype, out);
}

void accumulate_gram(const Context& context, const Tensor& x, float scale, const Tensor& h) {
  if (x.empty()) return;
  const Operand a(context, x, x.dtype == DType::bf16 ? DType::bf16 : context.products());
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
  const DType type = product_type(context, weight, d_x);
  const Operand a(context, d_y, type), b(context, weight, type);
  gemm(context.cuda(), false, false, tokens, in, out, 1.0f, a.data(), out, b.data(), in, type,
       accumulate ? 1.0f : 0.0f, d_x.data, d_x.dtype, in);
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
