#include "../backends.hpp"
#include "row_scale.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace galapagos::ops::cpu {
void softmax_scale(const Context&, const Tensor& logits, const Tensor& scale) {
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    const RowScale found = scale_of(logits.floats() + row * logits.columns(), logits.columns());
    scale.floats()[2 * row] = found.largest;
    scale.floats()[2 * row + 1] = static_cast<float>(found.log_sum);
  }
}

void kl_divergence(const Context&, const Tensor& dense, const Tensor& dense_scale, const Tensor& other,
                   const RowValues& divergence) {
  const std::int64_t vocabulary = dense.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < dense.rows(); ++row) {
    const float *p = dense.floats() + row * vocabulary, *q = other.floats() + row * vocabulary;
    const float p_largest = dense_scale.floats()[2 * row], p_log = dense_scale.floats()[2 * row + 1];
    const RowScale q_scale = scale_of(q, vocabulary);
    // sum p (log p - log q) with the two constants taken out of the sum; p adds up to 1.
    const DivergenceSums sums = divergence_sums(p, p_largest, q, q_scale.largest, vocabulary);
    divergence.data[row] = sums.weighted / sums.weights + q_scale.log_sum - static_cast<double>(p_log);
  }
}

void sparse_kl_divergence(const Context&, const Tensor& dense, const Tensor& other, std::int64_t k,
                          const RowValues& divergence) {
  const std::int64_t vocabulary = dense.columns(), count = std::min(k, vocabulary);
#pragma omp parallel
  {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(vocabulary));
    std::vector<float> p(static_cast<std::size_t>(count)), q(static_cast<std::size_t>(count));
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < dense.rows(); ++row) {
      const float *all_p = dense.floats() + row * vocabulary, *all_q = other.floats() + row * vocabulary;
      std::iota(ids.begin(), ids.end(), 0);
      std::nth_element(ids.begin(), ids.begin() + (count - 1), ids.end(),
                       [&](std::int32_t a, std::int32_t b) {
                         return all_p[a] > all_p[b] || (all_p[a] == all_p[b] && a < b);
                       });
      std::sort(ids.begin(), ids.begin() + count);  // a fixed order of the sum
      for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
        p[i] = all_p[ids[i]];
        q[i] = all_q[ids[i]];
      }
      const RowScale p_scale = scale_of(p.data(), count), q_scale = scale_of(q.data(), count);
      double sum = 0;
      for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
        const double log_p = static_cast<double>(p[i] - p_scale.largest) - p_scale.log_sum;
        const double log_q = static_cast<double>(q[i] - q_scale.largest) - q_scale.log_sum;
        sum += std::exp(log_p) * (log_p - log_q);
      }
      divergence.data[row] = sum;
    }
  }
}

void arg_max(const Context&, const Tensor& logits, std::span<std::int32_t> indices) {
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    const float* values = logits.floats() + row * logits.columns();
    indices[static_cast<std::size_t>(row)] =
        static_cast<std::int32_t>(std::max_element(values, values + logits.columns()) - values);
  }
}

}  // namespace galapagos::ops::cpu
