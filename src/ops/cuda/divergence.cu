#include "../backends.hpp"
#include "launch.cuh"
#include "row_results.cuh"
#include "sortable.cuh"
#include "vocabulary.cuh"

namespace galapagos::ops::cuda {
namespace {

using Key = unsigned long long;

__global__ void likelihoods(const float* logits, const std::int32_t* targets, std::int64_t vocabulary,
                            double* nll) {
  const float* row = logits + blockIdx.x * vocabulary;
  const RowScale scale = scale_of(row, vocabulary);
  if (threadIdx.x == 0) nll[blockIdx.x] = scale.log_sum + scale.largest - row[targets[blockIdx.x]];
}

__global__ void scales(const float* logits, std::int64_t vocabulary, float* scale) {
  const RowScale found = scale_of(logits + blockIdx.x * vocabulary, vocabulary);
  if (threadIdx.x != 0) return;
  scale[2 * blockIdx.x] = found.largest;
  scale[2 * blockIdx.x + 1] = static_cast<float>(found.log_sum);
}

__global__ void divergences(const float* dense, const float* dense_scale, const float* other,
                            std::int64_t vocabulary, double* divergence) {
  const float *p = dense + blockIdx.x * vocabulary, *q = other + blockIdx.x * vocabulary;
  const float p_largest = dense_scale[2 * blockIdx.x], p_log = dense_scale[2 * blockIdx.x + 1];
  // sum p (log p - log q) with the two constants taken out of the sum; p adds up to 1. In fp64, as the scale
  // of q is not yet known.
  RunningScale scale;
  double sum = 0, total = 0;
  const std::int64_t step = static_cast<std::int64_t>(logits_ahead) * blockDim.x;
  for (std::int64_t i = threadIdx.x; i < vocabulary; i += step) {
    const Values ps(p, i, vocabulary), qs(q, i, vocabulary);
    scale.add(qs);
#pragma unroll
    for (int j = 0; j < logits_ahead; ++j) {
      if (i + static_cast<std::int64_t>(j) * blockDim.x >= vocabulary) break;
      const float log_p = ps.of[j] - p_largest;
      const auto weight = static_cast<double>(expf(log_p));
      total += weight;
      sum += weight * (static_cast<double>(log_p) - static_cast<double>(qs.of[j]));
    }
  }
  const RowScale q_scale = scale.of_block();
  total = block_reduce(total, Sum{});
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x == 0) {
    divergence[blockIdx.x] =
        sum / total + static_cast<double>(q_scale.largest) + q_scale.log_sum - static_cast<double>(p_log);
  }
}

/// Sorts as (value, lower index first), without ties. Adding 0 turns -0 into the 0 to which it is equal.
__device__ Key ranked(float value, std::int64_t index) {
  return static_cast<Key>(sortable(value + 0.0f)) << 32 | (0xffffffffu - static_cast<std::uint32_t>(index));
}

/// The key of which `count` keys of the row are at least as great, byte by byte from the highest: a histogram
/// of the keys that share the bytes found so far tells the next.
__device__ Key select(const float* row, std::int64_t size, std::int64_t count) {
  __shared__ unsigned histogram[256];
  __shared__ unsigned chosen, rest;
  Key prefix = 0;
  auto wanted = static_cast<unsigned>(count);
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (unsigned bin = threadIdx.x; bin < 256; bin += blockDim.x) histogram[bin] = 0;
    __syncthreads();
    for (std::int64_t i = threadIdx.x; i < size; i += blockDim.x) {
      const Key key = ranked(row[i], i);
      if (shift == 56 || key >> (shift + 8) == prefix) atomicAdd(&histogram[key >> shift & 255], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned bin = 255;
      while (histogram[bin] < wanted) wanted -= histogram[bin--];
      chosen = bin;
      rest = wanted;
    }
    __syncthreads();
    prefix = prefix << 8 | chosen;
    wanted = rest;
  }
  return prefix;
}

__device__ RowScale scale_of_chosen(const float* row, const float* by, std::int64_t size, Key least) {
  float largest = -INFINITY;
  for (std::int64_t i = threadIdx.x; i < size; i += blockDim.x) {
    if (ranked(by[i], i) >= least) largest = fmaxf(largest, row[i]);
  }
  largest = block_reduce(largest, Greatest{});
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < size; i += blockDim.x) {
    if (ranked(by[i], i) >= least) sum += static_cast<double>(expf(row[i] - largest));
  }
  return {largest, log(block_reduce(sum, Sum{}))};
}

__global__ void sparse_divergences(const float* dense, const float* other, std::int64_t vocabulary,
                                   std::int64_t count, double* divergence) {
  const float *p = dense + blockIdx.x * vocabulary, *q = other + blockIdx.x * vocabulary;
  const Key least = select(p, vocabulary, count);
  const RowScale p_scale = scale_of_chosen(p, p, vocabulary, least);
  const RowScale q_scale = scale_of_chosen(q, p, vocabulary, least);
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < vocabulary; i += blockDim.x) {
    if (ranked(p[i], i) < least) continue;
    const double log_p = static_cast<double>(p[i] - p_scale.largest) - p_scale.log_sum;
    const double log_q = static_cast<double>(q[i] - q_scale.largest) - q_scale.log_sum;
    sum += exp(log_p) * (log_p - log_q);
  }
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x == 0) divergence[blockIdx.x] = sum;
}

__global__ void greatest(const float* logits, std::int64_t vocabulary, std::int32_t* indices) {
  const float* row = logits + blockIdx.x * vocabulary;
  Key best = 0;
  for (std::int64_t i = threadIdx.x; i < vocabulary; i += blockDim.x)
    best = Greatest{}(best, ranked(row[i], i));
  best = block_reduce(best, Greatest{});
  if (threadIdx.x == 0) indices[blockIdx.x] = static_cast<std::int32_t>(0xffffffffu - (best & 0xffffffffu));
}

dim3 one_block_per_row(const Tensor& logits) {
  return dim3(static_cast<unsigned>(logits.rows()));
}

}  // namespace

void token_nll(const Context& context, const Tensor& logits, std::span<const std::int32_t> targets,
               const RowValues& nll) {
  if (logits.empty()) return;
  Resources& gpu = context.cuda();
  const Array<std::int32_t> wanted = gpu.upload(targets);
  fill(gpu, nll, logits.rows(), [&](double* found) {
    launch(gpu, likelihoods, one_block_per_row(logits), row_threads, 0, logits.floats(), wanted.data(),
           logits.columns(), found);
  });
}

void softmax_scale(const Context& context, const Tensor& logits, const Tensor& scale) {
  launch(context.cuda(), scales, one_block_per_row(logits), row_threads, 0, logits.floats(), logits.columns(),
         scale.floats());
}

void kl_divergence(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                   const Tensor& other, const RowValues& divergence) {
  if (dense.empty()) return;
  Resources& gpu = context.cuda();
  fill(gpu, divergence, dense.rows(), [&](double* found) {
    launch(gpu, divergences, one_block_per_row(dense), row_threads, 0, dense.floats(), dense_scale.floats(),
           other.floats(), dense.columns(), found);
  });
}

void sparse_kl_divergence(const Context& context, const Tensor& dense, const Tensor& other, std::int64_t k,
                          const RowValues& divergence) {
  if (dense.empty()) return;
  Resources& gpu = context.cuda();
  fill(gpu, divergence, dense.rows(), [&](double* found) {
    launch(gpu, sparse_divergences, one_block_per_row(dense), row_threads, 0, dense.floats(), other.floats(),
           dense.columns(), std::min(k, dense.columns()), found);
  });
}

void arg_max(const Context& context, const Tensor& logits, std::span<std::int32_t> indices) {
  if (logits.empty()) return;
  Resources& gpu = context.cuda();
  const Array<std::int32_t> result(logits.rows(), "tokens");
  launch(gpu, greatest, one_block_per_row(logits), row_threads, 0, logits.floats(), logits.columns(),
         result.data());
  gpu.download(result.data(), indices.first(static_cast<std::size_t>(logits.rows())));
}

}  // namespace galapagos::ops::cuda
