#pragma once

#include "vector_math.hpp"

#include <cmath>

namespace galapagos::ops::cpu {

/// The greatest value of a row and log(sum(exp(row - greatest))); of an empty row, both are -infinity.
struct RowScale {
  float largest;
  double log_sum;
};

inline RowScale scale_of(const float* row, std::int64_t count) {
  float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, row[i]);
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(vector_exp(row[i] - largest));
  return {largest, std::log(sum)};
}

/// Of two rows shifted down, with weights w = exp(p - p_shift): sum(w (p - p_shift - q + q_shift)) and
/// sum(w).
struct DivergenceSums {
  double weighted = 0;
  double weights = 0;
};

inline DivergenceSums divergence_sums(const float* p, float p_shift, const float* q, float q_shift,
                                      std::int64_t count) {
  double sum = 0, total = 0;
#pragma omp simd reduction(+ : sum, total)
  for (std::int64_t i = 0; i < count; ++i) {
    const float log_p = p[i] - p_shift;
    const float weight = vector_exp(log_p);
    total += static_cast<double>(weight);
    sum += static_cast<double>(weight * (log_p - (q[i] - q_shift)));
  }
  return {sum, total};
}

}  // namespace galapagos::ops::cpu
