#include "../backends.hpp"
#include "row_scale.hpp"
#include "tuning.hpp"

namespace galapagos::ops::cpu {

void slice_scales(const Context&, const Tensor& logits, std::span<double> scales) {
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    const RowScale found = scale_of(logits.floats() + row * logits.columns(), logits.columns());
    scales[static_cast<std::size_t>(2 * row)] = static_cast<double>(found.largest);
    scales[static_cast<std::size_t>(2 * row + 1)] = found.log_sum;
  }
}

void slice_logits_of(const Context&, const Tensor& logits, std::span<const std::int32_t> ids,
                     std::int64_t first, std::span<double> found) {
  for (std::size_t row = 0; row < ids.size(); ++row) {
    const std::int64_t id = ids[row] - first;
    const bool here = id >= 0 && id < logits.columns();
    found[row] =
        here ? static_cast<double>(logits.floats()[static_cast<std::int64_t>(row) * logits.columns() + id])
             : 0;
  }
}

void draw_ids(const Context&, const Tensor& logits, std::span<const double> shifts,
              std::span<const double> shares, std::span<std::int32_t> ids) {
  const std::int64_t columns = logits.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    const float* values = logits.floats() + row * columns;
    const auto at = static_cast<std::size_t>(row);
    const auto shift = static_cast<float>(shifts[at]);
    double before = 0;
    std::int64_t found = -1;
    // Whole runs are summed until the one in which the share is exceeded, and only that one column by column.
    for (std::int64_t first = 0; first < columns; first += piece_of_logits) {
      const std::int64_t last = std::min(first + piece_of_logits, columns);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = first; i < last; ++i) sum += static_cast<double>(vector_exp(values[i] - shift));
      if (before + sum <= shares[at]) {
        before += sum;
        continue;
      }
      std::int64_t i = first;
      for (; i < last; ++i) {
        before += static_cast<double>(vector_exp(values[i] - shift));
        if (before > shares[at]) break;
      }
      if (i == last) continue;  // the two sums were rounded otherwise
      found = i;
      break;
    }
    // Rounding may leave the sum below the share: then the last that is not all but impossible.
    if (found < 0) {
      found = columns - 1;
      while (found > 0 && vector_exp(values[found] - shift) < negligible_share) --found;
    }
    ids[at] = static_cast<std::int32_t>(found);
  }
}

void slice_divergence(const Context&, const Tensor& dense, std::span<const float> dense_shifts,
                      const Tensor& other, std::span<const float> other_shifts, std::span<double> sums) {
  const std::int64_t columns = dense.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < dense.rows(); ++row) {
    const float *p = dense.floats() + row * columns, *q = other.floats() + row * columns;
    const auto at = static_cast<std::size_t>(row);
    const DivergenceSums found = divergence_sums(p, dense_shifts[at], q, other_shifts[at], columns);
    sums[2 * at] = found.weighted;
    sums[2 * at + 1] = found.weights;
  }
}

void slice_cross_entropy_backward(const Context&, std::span<const std::int32_t> targets, std::int64_t first,
                                  std::span<const float> weights, std::span<const float> shifts,
                                  const Tensor& logits) {
  const std::int64_t columns = logits.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    float* values = logits.floats() + row * columns;
    const auto at = static_cast<std::size_t>(row);
    const float shift = shifts[at], weight = weights[at];
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i) values[i] = weight * vector_exp(values[i] - shift);
    const std::int64_t target = targets[at] - first;
    if (target >= 0 && target < columns) values[target] -= weight;
  }
}

void slice_kl_backward(const Context&, const Tensor& dense, std::span<const float> dense_shifts,
                       std::span<const float> weights, std::span<const float> shifts, const Tensor& logits) {
  const std::int64_t columns = logits.columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    float* values = logits.floats() + row * columns;
    const float* wanted = dense.floats() + row * columns;
    const auto at = static_cast<std::size_t>(row);
    const float shift = shifts[at], dense_shift = dense_shifts[at], weight = weights[at];
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i)
      values[i] = weight * (vector_exp(values[i] - shift) - vector_exp(wanted[i] - dense_shift));
  }
}

}  // namespace galapagos::ops::cpu
