#include "../backends.hpp"
#include "blas.hpp"

#include <algorithm>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

void put_bias(const Tensor& bias, const Tensor& y, bool accumulate) {
  const auto columns = static_cast<std::size_t>(y.columns());
  std::vector<float> wide(columns);
  convert_to_float(bias.dtype, bias.data, wide);
  for (std::int64_t row = 0; row < y.rows(); ++row) {
    float* out = y.floats() + row * y.columns();
    for (std::size_t i = 0; i < columns; ++i) out[i] = accumulate ? out[i] + wide[i] : wide[i];
  }
}

}  // namespace

void linear(const Context&, const Factor& x, const Tensor& weight, const Tensor* bias, const Tensor& y,
            bool accumulate) {
  const std::int64_t tokens = y.rows(), out = y.columns(), in = x->columns();
  float beta = accumulate ? 1.0f : 0.0f;
  if (bias != nullptr) {
    put_bias(*bias, y, accumulate);
    beta = 1.0f;
  } else if (in == 0 && !accumulate) {
    fill_zero(y);
  }
  if (tokens == 0 || out == 0 || in == 0) return;
  // Each tile of output columns widens its own rows of the weight once, for all tokens.
  for_tiles(1, out, [&](std::int64_t, std::int64_t, std::int64_t column, std::int64_t columns) {
    const float* rows = weight.floats() + column * in;
    std::vector<float> wide;
    if (weight.dtype != DType::f32) {
      wide.resize(static_cast<std::size_t>(columns * in));
      convert_to_float(weight.dtype,
                       weight.data + static_cast<std::size_t>(column * in) * size_of(weight.dtype), wide);
      rows = wide.data();
    }
    gemm(false, true, tokens, columns, in, 1.0f, x->floats(), in, rows, in, beta, y.floats() + column, out);
  });
}

void accumulate_gram(const Context&, const Tensor& x, float scale, const Tensor& h) {
  if (x.rows() == 0) return;
  parallel_syrk_lower(true, x.columns(), x.rows(), scale, x.floats(), x.columns(), h.floats(), x.columns());
}

}  // namespace galapagos::ops::cpu
