#include "../backends.hpp"
#include "blas.hpp"
#include "linear_tiles.hpp"

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

// So few tokens that a product is over sooner than the weight is packed for BLAS, as where texts are written
// token by token.
constexpr std::int64_t few_tokens = 8;
constexpr std::int64_t rows_at_once = 4;

/// sums[r] = x . row r of four rows, one after the other.
void multiply_rows(const float* x, const float* rows, std::int64_t in, float* sums) {
  const float *a = rows, *b = a + in, *c = b + in, *d = c + in;
  float sum_a = 0, sum_b = 0, sum_c = 0, sum_d = 0;
#pragma omp simd reduction(+ : sum_a, sum_b, sum_c, sum_d)
  for (std::int64_t i = 0; i < in; ++i) {
    sum_a += x[i] * a[i];
    sum_b += x[i] * b[i];
    sum_c += x[i] * c[i];
    sum_d += x[i] * d[i];
  }
  sums[0] = sum_a, sums[1] = sum_b, sums[2] = sum_c, sums[3] = sum_d;
}

/// The same of a single row.
float multiply_row(const float* x, const float* row, std::int64_t in) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < in; ++i) sum += x[i] * row[i];
  return sum;
}

/// The columns of y = x weight^T + beta y for a few tokens: a thread reads its rows of the weight once, four
/// at a time, which stay in its cache where they have to be made wide.
void multiply_few(const Tensor& x, const Tensor& weight, float beta, const Tensor& y, std::int64_t first,
                  std::int64_t columns) {
  const std::int64_t tokens = y.rows(), out = y.columns(), in = x.columns();
  std::vector<float> wide(weight.dtype == DType::f32 ? 0 : static_cast<std::size_t>(rows_at_once * in));
  for (std::int64_t column = first; column < first + columns; column += rows_at_once) {
    const std::int64_t some = std::min(rows_at_once, first + columns - column);
    const float* rows = weight.floats() + column * in;
    if (weight.dtype != DType::f32) {
      convert_to_float(weight.dtype,
                       weight.data + static_cast<std::size_t>(column * in) * size_of(weight.dtype),
                       std::span(wide).first(static_cast<std::size_t>(some * in)));
      rows = wide.data();
    }
    for (std::int64_t token = 0; token < tokens; ++token) {
      const float* input = x.floats() + token * in;
      float sums[rows_at_once];
      if (some == rows_at_once) {
        multiply_rows(input, rows, in, sums);
      } else {
        for (std::int64_t r = 0; r < some; ++r) sums[r] = multiply_row(input, rows + r * in, in);
      }
      float* to = y.floats() + token * out + column;
      for (std::int64_t r = 0; r < some; ++r) to[r] = beta == 0 ? sums[r] : beta * to[r] + sums[r];
    }
  }
}

}  // namespace

void linear_columns(const Tensor& x, const Tensor& weight, float beta, const Tensor& y, std::int64_t column,
                    std::int64_t columns) {
  const std::int64_t tokens = y.rows(), out = y.columns(), in = x.columns();
  if (tokens <= few_tokens) return multiply_few(x, weight, beta, y, column, columns);
  // Each tile of output columns widens its own rows of the weight once, for all tokens.
  const float* rows = weight.floats() + column * in;
  std::vector<float> wide;
  if (weight.dtype != DType::f32) {
    wide.resize(static_cast<std::size_t>(columns * in));
    convert_to_float(weight.dtype,
                     weight.data + static_cast<std::size_t>(column * in) * size_of(weight.dtype), wide);
    rows = wide.data();
  }
  gemm(false, true, tokens, columns, in, 1.0f, x.floats(), in, rows, in, beta, y.floats() + column, out);
}

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
  for_tiles(1, out, [&](std::int64_t, std::int64_t, std::int64_t column, std::int64_t columns) {
    linear_columns(x.values(), weight, beta, y, column, columns);
  });
}

void accumulate_gram(const Context&, const Tensor& x, float scale, const Tensor& h) {
  if (x.rows() == 0) return;
  parallel_syrk_lower(true, x.columns(), x.rows(), scale, x.floats(), x.columns(), h.floats(), x.columns());
}

}  // namespace galapagos::ops::cpu
