#pragma once

#include "vector_math.hpp"

#include <cmath>

namespace galapagos::ops::cpu {

/// The greatest value of a row and log(sum(exp(row - greatest))).
struct RowScale {
  float largest;
  double log_sum;
};

inline RowScale scale_of(const float* row, std::int64_t count) {
  float largest = row[0];
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 1; i < count; ++i) largest = std::max(largest, row[i]);
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(vector_exp(row[i] - largest));
  return {largest, std::log(sum)};
}

}  // namespace galapagos::ops::cpu
