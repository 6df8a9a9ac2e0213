#include "../backends.hpp"
#include "row_scale.hpp"

#include <algorithm>
#include <cmath>

namespace galapagos::ops::cpu {
namespace {

/// The probabilities of a row of logits: exp(logit - shift - rest). Nothing is multiplied last, with which a
/// difference of two could become one operation that rounds equal ones apart.
struct Probabilities {
  const float* logits;
  float shift, rest;

  float operator[](std::int64_t i) const { return vector_exp((logits[i] - shift) - rest); }
};

/// Both distributions of a row in this way, so that equal logits have equal probabilities.
Probabilities of_scale(const float* logits, float largest, float log_sum) {
  return {logits, largest, log_sum};
}

Probabilities of_log_sum(const float* logits, double log_sum) {
  const auto shift = static_cast<float>(log_sum);
  return {logits, shift, static_cast<float>(log_sum - static_cast<double>(shift))};
}

float sign(float x) {
  return static_cast<float>(x > 0) - static_cast<float>(x < 0);
}

struct Apart {
  double distance = 0;  // sum(|p - q|)
  double leaning = 0;   // sum(q sign(q - p))
};

Apart apart(const Probabilities& p, const Probabilities& q, std::int64_t count) {
  double distance = 0, leaning = 0;
#pragma omp simd reduction(+ : distance, leaning)
  for (std::int64_t i = 0; i < count; ++i) {
    const float share = q[i], difference = share - p[i];
    distance += static_cast<double>(std::abs(difference));
    leaning += static_cast<double>(share * sign(difference));
  }
  return {distance, leaning};
}

/// The logits are q's.
void replace_by_gradient(const Probabilities& p, const Probabilities& q, double leaning, float weight,
                         float* logits, std::int64_t count) {
  const auto common = static_cast<float>(leaning);
  const float half = 0.5f * weight;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const float share = q[i];
    logits[i] = half * share * (sign(share - p[i]) - common);
  }
}

}  // namespace

void total_variation(const Context&, const Tensor& dense, const Tensor& dense_scale, const Tensor& other,
                     const RowValues& distance) {
  const std::int64_t vocabulary = dense.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < dense.rows(); ++row) {
    const float *p = dense.floats() + row * vocabulary, *q = other.floats() + row * vocabulary;
    const float* known = dense_scale.floats() + 2 * row;
    const RowScale scale = scale_of(q, vocabulary);
    const Apart found = apart(of_scale(p, known[0], known[1]),
                              of_scale(q, scale.largest, static_cast<float>(scale.log_sum)), vocabulary);
    distance.data[row] = std::min(found.distance / 2, 1.0);  // NaN stays
  }
}

void total_variation_backward(const Context&, const Tensor& dense, const Tensor& dense_scale,
                              std::span<const float> weights, const Tensor& logits) {
  const std::int64_t vocabulary = logits.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    float* values = logits.floats() + row * vocabulary;
    const float* known = dense_scale.floats() + 2 * row;
    const RowScale scale = scale_of(values, vocabulary);
    const Probabilities p = of_scale(dense.floats() + row * vocabulary, known[0], known[1]),
                        q = of_scale(values, scale.largest, static_cast<float>(scale.log_sum));
    replace_by_gradient(p, q, apart(p, q, vocabulary).leaning, weights[static_cast<std::size_t>(row)], values,
                        vocabulary);
  }
}

void slice_variation(const Context&, const Tensor& dense, std::span<const double> dense_log_sums,
                     const Tensor& other, std::span<const double> other_log_sums, std::span<double> sums) {
  const std::int64_t columns = dense.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < dense.rows(); ++row) {
    const auto at = static_cast<std::size_t>(row);
    const Apart found = apart(of_log_sum(dense.floats() + row * columns, dense_log_sums[at]),
                              of_log_sum(other.floats() + row * columns, other_log_sums[at]), columns);
    sums[2 * at] = found.distance;
    sums[2 * at + 1] = found.leaning;
  }
}

void slice_variation_backward(const Context&, const Tensor& dense, std::span<const double> dense_log_sums,
                              std::span<const double> leanings, std::span<const float> weights,
                              std::span<const double> log_sums, const Tensor& logits) {
  const std::int64_t columns = logits.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    float* values = logits.floats() + row * columns;
    const auto at = static_cast<std::size_t>(row);
    replace_by_gradient(of_log_sum(dense.floats() + row * columns, dense_log_sums[at]),
                        of_log_sum(values, log_sums[at]), leanings[at], weights[at], values, columns);
  }
}

}  // namespace galapagos::ops::cpu
