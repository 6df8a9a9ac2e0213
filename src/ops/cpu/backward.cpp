#include "../backends.hpp"
#include "blas.hpp"
#include "linear_tiles.hpp"
#include "row_scale.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

std::vector<float> wide_copy(const Tensor& tensor) {
  std::vector<float> wide(static_cast<std::size_t>(tensor.elements()));
  convert_to_float(tensor.dtype, tensor.data, wide);
  return wide;
}

/// Calls work(first, last) for tiles of the columns, in parallel.
template <typename Work>
void for_columns(std::int64_t columns, const Work& work) {
#pragma omp parallel for schedule(static)
  for (std::int64_t first = 0; first < columns; first += column_tile) {
    work(first, std::min(columns, first + column_tile));
  }
}

}  // namespace

void input_gradient_columns(const Tensor& d_y, const Tensor& weight, float beta, const Tensor& d_x,
                            std::int64_t column, std::int64_t columns) {
  const std::int64_t tokens = d_x.rows(), in = d_x.columns(), out = d_y.columns();
  if (weight.dtype == DType::f32) {
    return gemm(false, false, tokens, columns, out, 1.0f, d_y.floats(), out, weight.floats() + column, in,
                beta, d_x.floats() + column, in);
  }
  // Strip by strip, or every thread would hold its columns of the whole output head at once.
  std::vector<float> wide(static_cast<std::size_t>(std::min(gradient_strip, out) * columns));
  for (std::int64_t first = 0; first < out; first += gradient_strip) {
    const std::int64_t rows = std::min(gradient_strip, out - first);
    for (std::int64_t row = 0; row < rows; ++row) {
      convert_to_float(
          weight.dtype,
          weight.data + static_cast<std::size_t>((first + row) * in + column) * size_of(weight.dtype),
          {wide.data() + row * columns, static_cast<std::size_t>(columns)});
    }
    gemm(false, false, tokens, columns, rows, 1.0f, d_y.floats() + first, out, wide.data(), columns,
         first == 0 ? beta : 1.0f, d_x.floats() + column, in);
  }
}

void linear_input_gradient(const Context&, const Factor& d_y, const Tensor& weight, const Tensor& d_x,
                           bool accumulate) {
  const std::int64_t tokens = d_x.rows(), in = d_x.columns(), out = d_y->columns();
  if (tokens == 0 || in == 0) return;
  if (out == 0) {
    if (!accumulate) fill_zero(d_x);
    return;
  }
  for_tiles(1, in, [&](std::int64_t, std::int64_t, std::int64_t column, std::int64_t columns) {
    input_gradient_columns(d_y.values(), weight, accumulate ? 1.0f : 0.0f, d_x, column, columns);
  });
}

void linear_weight_gradient(const Context&, const Factor& d_y, const Factor& x, const Tensor& d_weight) {
  const std::int64_t tokens = x->rows(), out = d_y->columns(), in = x->columns();
  if (tokens == 0 || out == 0 || in == 0) return;
  parallel_gemm(true, false, out, in, tokens, 1.0f, d_y->floats(), out, x->floats(), in, 1.0f,
                d_weight.floats(), in);
}

namespace {

/// sums [n] += the column sums of term(x) over x [t, n].
template <typename Term>
void add_column_sums(const Tensor& x, const Tensor& sums, Term&& term) {
  const std::int64_t columns = x.columns();
  for_columns(columns, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = 0; row < x.rows(); ++row) {
      const float* from = x.floats() + row * columns;
#pragma omp simd
      for (std::int64_t i = first; i < last; ++i) sums.floats()[i] += term(from[i]);
    }
  });
}

}  // namespace

void bias_gradient(const Context&, const Tensor& d_y, const Tensor& d_bias) {
  add_column_sums(d_y, d_bias, [](float value) { return value; });
}

void add_column_squares(const Context&, const Tensor& x, const Tensor& sums) {
  add_column_sums(x, sums, [](float value) { return value * value; });
}

void rms_norm_backward(const Context&, const Tensor& x, const Tensor& weight, const NormRule& rule,
                       const Tensor& d_y, const Tensor& d_x, const Tensor& d_weight) {
  // y_i = x_i f w_i with f = (mean(x^2) + epsilon)^(-1/2):
  // d_x_i = f (d_y_i w_i) - x_i f^3 mean_j(d_y_j w_j x_j).
  const std::int64_t hidden = x.columns(), rows = x.rows();
  std::vector<float> scale = wide_copy(weight);
  for (float& value : scale) value += rule.shift;
  std::vector<float> factors(static_cast<std::size_t>(rows));
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    const float *in = x.floats() + row * hidden, *gradient = d_y.floats() + row * hidden;
    float* result = d_x.floats() + row * hidden;
    double squares = 0, product = 0;
#pragma omp simd reduction(+ : squares, product)
    for (std::int64_t i = 0; i < hidden; ++i) {
      squares += static_cast<double>(in[i]) * in[i];
      product += static_cast<double>(gradient[i] * scale[static_cast<std::size_t>(i)]) * in[i];
    }
    const float factor =
        1.0f / std::sqrt(static_cast<float>(squares / static_cast<double>(hidden)) + rule.epsilon);
    const float back = factor * factor * factor * static_cast<float>(product / static_cast<double>(hidden));
    factors[static_cast<std::size_t>(row)] = factor;
#pragma omp simd
    for (std::int64_t i = 0; i < hidden; ++i)
      result[i] += factor * gradient[i] * scale[static_cast<std::size_t>(i)] - in[i] * back;
  }
  for_columns(hidden, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const float *in = x.floats() + row * hidden, *gradient = d_y.floats() + row * hidden;
      const float factor = factors[static_cast<std::size_t>(row)];
#pragma omp simd
      for (std::int64_t i = first; i < last; ++i) d_weight.floats()[i] += gradient[i] * in[i] * factor;
    }
  });
}

void swiglu_backward(const Context&, const Tensor& d_y, const Tensor& gate, const Tensor& up, GateKind kind) {
  const float* gradient = d_y.floats();
  float *g = gate.floats(), *u = up.floats();
  const std::int64_t count = gate.elements();
  if (kind == GateKind::gelu_tanh) {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < count; ++i) {
      const float d_gelu = gradient[i] * u[i];
      u[i] = gradient[i] * g[i] * gelu_share(g[i]);
      g[i] = d_gelu * gelu_slope(g[i]);
    }
    return;
  }
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const float sigmoid = 1.0f / (1.0f + vector_exp(-g[i]));
    const float silu = g[i] * sigmoid;
    const float d_silu = gradient[i] * u[i];
    u[i] = gradient[i] * silu;
    g[i] = d_silu * (sigmoid + silu * (1.0f - sigmoid));
  }
}

void embed_backward(const Context&, std::span<const std::int32_t> tokens, const Tensor& d_out,
                    const Tensor& d_table, std::int64_t first_id) {
  const std::int64_t hidden = d_table.columns();
  for_columns(hidden, [&](std::int64_t first, std::int64_t last) {
    for (std::size_t row = 0; row < tokens.size(); ++row) {
      const std::int64_t id = tokens[row] - first_id;
      if (id < 0 || id >= d_table.rows()) continue;
      const float* from = d_out.floats() + static_cast<std::int64_t>(row) * hidden;
      float* to = d_table.floats() + id * hidden;
#pragma omp simd
      for (std::int64_t i = first; i < last; ++i) to[i] += from[i];
    }
  });
}

void cross_entropy_backward(const Context&, std::span<const std::int32_t> targets,
                            std::span<const float> weights, const Tensor& logits) {
  const std::int64_t vocabulary = logits.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    float* values = logits.floats() + row * vocabulary;
    const auto at = static_cast<std::size_t>(row);
    const RowScale scale = scale_of(values, vocabulary);
    const float shift = scale.largest + static_cast<float>(scale.log_sum), weight = weights[at];
#pragma omp simd
    for (std::int64_t i = 0; i < vocabulary; ++i) values[i] = weight * vector_exp(values[i] - shift);
    values[targets[at]] -= weight;
  }
}

void kl_backward(const Context&, const Tensor& dense, const Tensor& dense_scale,
                 std::span<const float> weights, const Tensor& logits) {
  const std::int64_t vocabulary = logits.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    float* values = logits.floats() + row * vocabulary;
    const float* wanted = dense.floats() + row * vocabulary;
    const float* known = dense_scale.floats() + row * 2;
    const RowScale scale = scale_of(values, vocabulary);
    const float shift = scale.largest + static_cast<float>(scale.log_sum);
    const float dense_shift = known[0] + known[1];
    const float weight = weights[static_cast<std::size_t>(row)];
#pragma omp simd
    for (std::int64_t i = 0; i < vocabulary; ++i) {
      values[i] = weight * (vector_exp(values[i] - shift) - vector_exp(wanted[i] - dense_shift));
    }
  }
}

}  // namespace galapagos::ops::cpu
