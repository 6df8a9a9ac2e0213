#include "../backends.hpp"
#include "launch.cuh"
#include "vocabulary.cuh"

namespace galapagos::ops::cuda {
namespace {

__global__ void wide_scales(const float* logits, std::int64_t columns, double* scales) {
  const RowScale found = scale_of(logits + blockIdx.x * columns, columns);
  if (threadIdx.x != 0) return;
  scales[2 * blockIdx.x] = found.largest;
  scales[2 * blockIdx.x + 1] = found.log_sum;
}

__global__ void logits_of(const float* logits, const std::int32_t* ids, std::int64_t first,
                          std::int64_t columns, std::int64_t rows, double* found) {
  for (std::int64_t row = global_thread(); row < rows; row += global_threads()) {
    const std::int64_t id = ids[row] - first;
    found[row] = id >= 0 && id < columns ? logits[row * columns + id] : 0;
  }
}

// A thread sums a run of neighbouring columns; the one in whose run the share is exceeded goes through it
// again column by column.
__global__ void drawn_ids(const float* logits, const double* shifts, const double* shares,
                          std::int64_t columns, std::int32_t* ids) {
  __shared__ double sums[row_threads];
  __shared__ std::int64_t found;
  const float* row = logits + blockIdx.x * columns;
  const auto shift = static_cast<float>(shifts[blockIdx.x]);
  const double share = shares[blockIdx.x];
  const std::int64_t run = (columns + blockDim.x - 1) / blockDim.x;
  const std::int64_t first = min(run * threadIdx.x, columns), last = min(first + run, columns);
  double sum = 0;
  for (std::int64_t i = first; i < last; ++i) sum += static_cast<double>(expf(row[i] - shift));
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    double before = 0;
    for (unsigned thread = 0; thread < blockDim.x; ++thread) {
      const double own = sums[thread];
      sums[thread] = before;
      before += own;
    }
    found = -1;
  }
  __syncthreads();
  double before = sums[threadIdx.x];
  const bool exceeded_here = before <= share && before + sum > share;
  for (std::int64_t i = first; exceeded_here && i < last; ++i) {
    before += static_cast<double>(expf(row[i] - shift));
    if (before > share) {
      found = i;
      break;
    }
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  // Rounding may leave the sum below the share: then the last that is not all but impossible.
  if (found < 0) {
    found = columns - 1;
    while (found > 0 && expf(row[found] - shift) < negligible_share) --found;
  }
  ids[blockIdx.x] = static_cast<std::int32_t>(found);
}

__global__ void divergence_sums(const float* dense, const float* dense_shifts, const float* other,
                                const float* other_shifts, std::int64_t columns, double* sums) {
  const float *p = dense + blockIdx.x * columns, *q = other + blockIdx.x * columns;
  const float p_shift = dense_shifts[blockIdx.x], q_shift = other_shifts[blockIdx.x];
  double sum = 0, total = 0;
  for (std::int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const float log_p = p[i] - p_shift;
    const float weight = expf(log_p);
    total += static_cast<double>(weight);
    sum += static_cast<double>(weight * (log_p - (q[i] - q_shift)));
  }
  total = block_reduce(total, Sum{});
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x != 0) return;
  sums[2 * blockIdx.x] = sum;
  sums[2 * blockIdx.x + 1] = total;
}

__global__ void slice_cross_entropy_gradient(const std::int32_t* targets, std::int64_t first,
                                             const float* weights, const float* shifts, std::int64_t columns,
                                             float* logits) {
  float* row = logits + blockIdx.x * columns;
  const float shift = shifts[blockIdx.x], weight = weights[blockIdx.x];
  const std::int64_t target = targets[blockIdx.x] - first;
  for (std::int64_t i = threadIdx.x; i < columns; i += blockDim.x)
    row[i] = weight * (expf(row[i] - shift) - (i == target ? 1.0f : 0.0f));
}

__global__ void slice_kl_gradient(const float* dense, const float* dense_shifts, const float* weights,
                                  const float* shifts, std::int64_t columns, float* logits) {
  float* row = logits + blockIdx.x * columns;
  const float* wanted = dense + blockIdx.x * columns;
  const float shift = shifts[blockIdx.x], weight = weights[blockIdx.x];
  const float dense_shift = dense_shifts[blockIdx.x];
  for (std::int64_t i = threadIdx.x; i < columns; i += blockDim.x)
    row[i] = weight * (expf(row[i] - shift) - expf(wanted[i] - dense_shift));
}

dim3 one_block_per_row(const Tensor& logits) {
  return dim3(static_cast<unsigned>(logits.rows()));
}

}  // namespace

void slice_scales(const Context& context, const Tensor& logits, std::span<double> scales) {
  if (logits.rows() == 0) return;
  Resources& gpu = context.cuda();
  const Array<double> result(2 * logits.rows(), "scales of logits");
  launch(gpu, wide_scales, one_block_per_row(logits), row_threads, 0, logits.floats(), logits.columns(),
         result.data());
  gpu.download(result.data(), scales.first(static_cast<std::size_t>(2 * logits.rows())));
}

void slice_logits_of(const Context& context, const Tensor& logits, std::span<const std::int32_t> ids,
                     std::int64_t first, std::span<double> found) {
  if (logits.rows() == 0) return;
  Resources& gpu = context.cuda();
  const Array<std::int32_t> wanted = gpu.upload(ids);
  const Array<double> result(logits.rows(), "logits of tokens");
  launch(gpu, logits_of, blocks_for(logits.rows()), block_threads, 0, logits.floats(), wanted.data(), first,
         logits.columns(), logits.rows(), result.data());
  gpu.download(result.data(), found.first(static_cast<std::size_t>(logits.rows())));
}

void draw_ids(const Context& context, const Tensor& logits, std::span<const double> shifts,
              std::span<const double> shares, std::span<std::int32_t> ids) {
  if (logits.rows() == 0) return;
  Resources& gpu = context.cuda();
  const Array<double> shift = gpu.upload(shifts), share = gpu.upload(shares);
  const Array<std::int32_t> result(logits.rows(), "drawn ids");
  launch(gpu, drawn_ids, one_block_per_row(logits), row_threads, 0, logits.floats(), shift.data(),
         share.data(), logits.columns(), result.data());
  gpu.download(result.data(), ids.first(static_cast<std::size_t>(logits.rows())));
}

void slice_divergence(const Context& context, const Tensor& dense, std::span<const float> dense_shifts,
                      const Tensor& other, std::span<const float> other_shifts, std::span<double> sums) {
  if (dense.rows() == 0) return;
  Resources& gpu = context.cuda();
  const Array<float> p_shifts = gpu.upload(dense_shifts);
  const Array<float> q_shifts = gpu.upload(other_shifts);
  const Array<double> result(2 * dense.rows(), "losses");
  launch(gpu, divergence_sums, one_block_per_row(dense), row_threads, 0, dense.floats(), p_shifts.data(),
         other.floats(), q_shifts.data(), dense.columns(), result.data());
  gpu.download(result.data(), sums.first(static_cast<std::size_t>(2 * dense.rows())));
}

void slice_cross_entropy_backward(const Context& context, std::span<const std::int32_t> targets,
                                  std::int64_t first, std::span<const float> weights,
                                  std::span<const float> shifts, const Tensor& logits) {
  if (logits.empty()) return;
  Resources& gpu = context.cuda();
  const Array<std::int32_t> wanted = gpu.upload(targets);
  const Array<float> factors = gpu.upload(weights);
  const Array<float> of_rows = gpu.upload(shifts);
  launch(gpu, slice_cross_entropy_gradient, one_block_per_row(logits), row_threads, 0, wanted.data(), first,
         factors.data(), of_rows.data(), logits.columns(), logits.floats());
}

void slice_kl_backward(const Context& context, const Tensor& dense, std::span<const float> dense_shifts,
                       std::span<const float> weights, std::span<const float> shifts, const Tensor& logits) {
  if (logits.empty()) return;
  Resources& gpu = context.cuda();
  const Array<float> p_shifts = gpu.upload(dense_shifts);
  const Array<float> factors = gpu.upload(weights);
  const Array<float> of_rows = gpu.upload(shifts);
  launch(gpu, slice_kl_gradient, one_block_per_row(logits), row_threads, 0, dense.floats(), p_shifts.data(),
         factors.data(), of_rows.data(), logits.columns(), logits.floats());
}

}  // namespace galapagos::ops::cuda
