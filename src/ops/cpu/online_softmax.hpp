#pragma once

#include "tuning.hpp"
#include "vector_math.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

// The softmax of attention block of keys by block (Milakov and Gimelshein 2018).
namespace galapagos::ops::cpu {

/// What is known of a row of scores so far: the greatest, the sum of exp(score - greatest), and the values
/// weighted by that.
struct RowSoFar {
  float &largest, &sum;
  float* gathered;
  std::int64_t head_dim;
};

/// A row's scores with a block of `keys` keys, of which it sees those from `before` to before `seen`, become
/// weights, and what is known so far is brought to the same scale. `row` has room for whole vectors.
inline void weigh_scores(float* row, std::int64_t before, std::int64_t seen, std::int64_t keys, float cap,
                         const RowSoFar& so_far) {
  // Whole vectors only: what lies beyond the diagonal or before the window counts as a score of -infinity.
  const std::int64_t width = before < seen ? (seen + vector_lane - 1) / vector_lane * vector_lane : 0;
  if (width > 0) {
    std::fill(row, row + before, -std::numeric_limits<float>::infinity());
    std::fill(row + seen, row + width, -std::numeric_limits<float>::infinity());
    if (cap != 0) {
      for (std::int64_t j = before; j < seen; ++j) row[j] = cap * std::tanh(row[j] / cap);
    }
    float largest = so_far.largest;
#pragma omp simd reduction(max : largest)
    for (std::int64_t j = 0; j < width / vector_lane * vector_lane; ++j) largest = std::max(largest, row[j]);
    const float shrink = vector_exp(so_far.largest - largest);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < width / vector_lane * vector_lane; ++j) {
      row[j] = vector_exp(row[j] - largest);
      sum += row[j];
    }
    so_far.largest = largest;
    so_far.sum = so_far.sum * shrink + sum;
    for (std::int64_t j = 0; j < so_far.head_dim; ++j) so_far.gathered[j] *= shrink;
  }
  std::fill(row + width, row + std::max(keys, width), 0.0f);
}

}  // namespace galapagos::ops::cpu
