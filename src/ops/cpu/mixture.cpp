#include "../backends.hpp"
#include "vector_math.hpp"

#include <algorithm>

namespace galapagos::ops::cpu {
namespace {

template <GateKind kind>
float share(float g) {
  return kind == GateKind::silu ? 1.0f / (1.0f + vector_exp(-g)) : gelu_share(g);
}

/// The derivative of g share(g).
template <GateKind kind>
float slope(float g) {
  if (kind == GateKind::gelu_tanh) return gelu_slope(g);
  const float sigmoid = share<kind>(g);
  return sigmoid + g * sigmoid * (1.0f - sigmoid);
}

template <GateKind kind>
void gate_row(const float* g, const float* u, float weight, std::int64_t columns, float* y) {
#pragma omp simd
  for (std::int64_t i = 0; i < columns; ++i) y[i] = weight * (g[i] * share<kind>(g[i]) * u[i]);
}

template <GateKind kind>
float gate_row_backward(const float* d, float* g, float* u, float weight, std::int64_t columns) {
  float by_weight = 0;
#pragma omp simd reduction(+ : by_weight)
  for (std::int64_t i = 0; i < columns; ++i) {
    const float active = g[i] * share<kind>(g[i]), d_product = weight * d[i];
    by_weight += d[i] * active * u[i];
    const float d_active = d_product * u[i];
    u[i] = d_product * active;
    g[i] = d_active * slope<kind>(g[i]);
  }
  return by_weight;
}

/// Calls work(row, its columns, its first element) for every row.
template <typename Work>
void for_rows(const ExpertRows& layout, const Work& work) {
  const std::vector<std::int64_t> first = layout.first_elements();
#pragma omp parallel
  for (std::size_t expert = 0; expert < layout.columns.size(); ++expert) {
    const std::int64_t columns = layout.columns[expert];
#pragma omp for schedule(static) nowait
    for (std::int64_t row = layout.rows[expert]; row < layout.rows[expert + 1]; ++row)
      work(row, columns, first[expert] + (row - layout.rows[expert]) * columns);
  }
}

}  // namespace

void gather_routed(const Context& context, const Tensor& table, const Routing& routing, const Tensor& out) {
  cpu::gather_rows(context, table, {routing.tokens.data(), static_cast<std::size_t>(routing.layout.count())},
                   out);
}

void routed_swiglu(const Context&, const Tensor& gate, const Tensor& up, const Routing& routing,
                   const Tensor& out, GateKind kind) {
  const auto run = kind == GateKind::silu ? gate_row<GateKind::silu> : gate_row<GateKind::gelu_tanh>;
  for_rows(routing.layout, [&](std::int64_t row, std::int64_t columns, std::int64_t at) {
    run(gate.floats() + at, up.floats() + at, routing.weights.data()[row], columns, out.floats() + at);
  });
}

void routed_swiglu_backward(const Context&, const Tensor& d, const Tensor& gate, const Tensor& up,
                            const Routing& routing, const Tensor& d_weights, GateKind kind) {
  const auto run =
      kind == GateKind::silu ? gate_row_backward<GateKind::silu> : gate_row_backward<GateKind::gelu_tanh>;
  for_rows(routing.layout, [&](std::int64_t row, std::int64_t columns, std::int64_t at) {
    d_weights.floats()[row] =
        run(d.floats() + at, gate.floats() + at, up.floats() + at, routing.weights.data()[row], columns);
  });
}

void sum_rows(const Context&, const Tensor& rows, const Routing& routing, const Tensor& out,
              bool accumulate) {
  const std::int64_t tokens = out.rows(), columns = out.columns(), each = routing.experts_per_token;
#pragma omp parallel for schedule(static)
  for (std::int64_t token = 0; token < tokens; ++token) {
    float* const to = out.floats() + token * columns;
    if (!accumulate) std::fill_n(to, columns, 0.0f);
    for (std::int64_t i = 0; i < each; ++i) {
      const std::int64_t place = routing.places.data()[token * each + i];
      if (place < 0) continue;
      const float* from = rows.floats() + place * columns;
#pragma omp simd
      for (std::int64_t c = 0; c < columns; ++c) to[c] += from[c];
    }
  }
}

}  // namespace galapagos::ops::cpu
