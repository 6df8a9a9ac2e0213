#include "../backends.hpp"
#include "row_scale.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

std::span<const float> floats_of(const Tensor& tensor, std::vector<float>& storage) {
  if (tensor.dtype == DType::f32) return tensor.float_span();
  storage.resize(static_cast<std::size_t>(tensor.elements()));
  convert_to_float(tensor.dtype, tensor.data, storage);
  return storage;
}

/// Rotates by `direction` (1 or -1) times the angles, and scales.
void rotate(std::initializer_list<Tensor> matrices, std::int64_t head_dim, const Tensor& frequencies,
            std::span<const std::int64_t> offsets, std::span<const std::int64_t> starts, float direction,
            float scale) {
  const std::int64_t half = frequencies.elements();
  // The positions that a table has, and where in it each sequence's first lies: those from 0 on serve all
  // sequences that start there.
  std::vector<std::int64_t> positions, firsts;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const std::int64_t length = offsets[s + 1] - offsets[s];
    firsts.push_back(starts.empty() ? 0 : std::ssize(positions));
    for (std::int64_t i = starts.empty() ? std::ssize(positions) : 0; i < length; ++i)
      positions.push_back(starts.empty() ? i : starts[s] + i);
  }
  const std::int64_t count = std::ssize(positions);
  std::vector<float> cosines(static_cast<std::size_t>(count * half)), sines(cosines.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t at = 0; at < count; ++at) {
    const auto position = static_cast<float>(positions[static_cast<std::size_t>(at)]);
    for (std::int64_t i = 0; i < half; ++i) {
      const float angle = position * frequencies.floats()[i];  // in fp32, as transformers
      cosines[static_cast<std::size_t>(at * half + i)] = scale * std::cos(angle);
      sines[static_cast<std::size_t>(at * half + i)] = scale * direction * std::sin(angle);
    }
  }
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const std::int64_t first = offsets[s], end = offsets[s + 1];
    const std::int64_t before = firsts[s] - first;
#pragma omp parallel for schedule(static) if (end - first > 1)
    for (std::int64_t row = first; row < end; ++row) {
      const float* cosine = cosines.data() + (before + row) * half;
      const float* sine = sines.data() + (before + row) * half;
      for (const Tensor& x : matrices) {
        const std::int64_t width = x.empty() ? 0 : x.columns();
        for (std::int64_t column = 0; column < width; column += head_dim) {
          float* low = x.floats() + row * width + column;
          float* high = low + half;
          for (std::int64_t i = 0; i < half; ++i) {
            const float a = low[i], b = high[i];
            low[i] = a * cosine[i] - b * sine[i];
            high[i] = b * cosine[i] + a * sine[i];
          }
        }
      }
    }
  }
}

}  // namespace

void embed(const Context&, std::span<const std::int32_t> tokens, const Tensor& table, const Tensor& out,
           std::int64_t first_id) {
  const std::int64_t hidden = table.columns();
  const auto count = static_cast<std::int64_t>(tokens.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t id = tokens[static_cast<std::size_t>(i)] - first_id;
    const std::span<float> to(out.floats() + i * hidden, static_cast<std::size_t>(hidden));
    if (id < 0 || id >= table.rows()) {
      std::fill(to.begin(), to.end(), 0.0f);
      continue;
    }
    convert_to_float(table.dtype, table.data + static_cast<std::size_t>(id * hidden) * size_of(table.dtype),
                     to);
  }
}

void rms_norm(const Context&, const Tensor& x, const Tensor& weight, const NormRule& rule,
              const Tensor& out) {
  const std::int64_t hidden = x.columns();
  std::vector<float> storage;
  const std::span<const float> scale = floats_of(weight, storage);
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < x.rows(); ++row) {
    const float* in = x.floats() + row * hidden;
    float* result = out.floats() + row * hidden;
    double squares = 0;
    for (std::int64_t i = 0; i < hidden; ++i) squares += static_cast<double>(in[i]) * in[i];
    const float factor =
        1.0f / std::sqrt(static_cast<float>(squares / static_cast<double>(hidden)) + rule.epsilon);
    for (std::int64_t i = 0; i < hidden; ++i)
      result[i] = in[i] * factor * (scale[static_cast<std::size_t>(i)] + rule.shift);
  }
}

void rope(const Context&, const Tensor& q, const Tensor& k, std::int64_t head_dim, const Tensor& frequencies,
          std::span<const std::int64_t> offsets, float scale, std::span<const std::int64_t> starts) {
  rotate({q, k}, head_dim, frequencies, offsets, starts, 1, scale);
}

void rope_backward(const Context&, const Tensor& d_q, const Tensor& d_k, std::int64_t head_dim,
                   const Tensor& frequencies, std::span<const std::int64_t> offsets, float scale) {
  rotate({d_q, d_k}, head_dim, frequencies, offsets, {}, -1, scale);
}

void swiglu(const Context&, const Tensor& gate, const Tensor& up, const Tensor& out, GateKind kind) {
  const float *g = gate.floats(), *u = up.floats();
  float* y = out.floats();
  const std::int64_t count = gate.elements();
  if (kind == GateKind::gelu_tanh) {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < count; ++i) y[i] = g[i] * gelu_share(g[i]) * u[i];
    return;
  }
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < count; ++i) y[i] = g[i] / (1.0f + vector_exp(-g[i])) * u[i];
}

void token_nll(const Context&, const Tensor& logits, std::span<const std::int32_t> targets,
               const RowValues& nll) {
  const std::int64_t vocabulary = logits.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    const float* values = logits.floats() + row * vocabulary;
    const RowScale scale = scale_of(values, vocabulary);
    const auto at = static_cast<std::size_t>(row);
    nll.data[at] = scale.log_sum + scale.largest - values[targets[at]];
  }
}

bool all_finite(const Context&, const Tensor& x) {
  std::int64_t bad = 0;
  const std::int64_t count = x.elements();
#pragma omp parallel for schedule(static) reduction(+ : bad)
  for (std::int64_t first = 0; first < count; first += piece_of_elements) {
    const std::int64_t length = std::min(piece_of_elements, count - first);
    std::vector<float> wide(static_cast<std::size_t>(length));
    convert_to_float(x.dtype, x.data + static_cast<std::size_t>(first) * size_of(x.dtype), wide);
    for (const float value : wide) bad += std::isfinite(value) ? 0 : 1;
  }
  return bad == 0;
}

}  // namespace galapagos::ops::cpu
