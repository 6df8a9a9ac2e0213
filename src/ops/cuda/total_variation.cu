#include "../backends.hpp"
#include "launch.cuh"
#include "row_results.cuh"
#include "vocabulary.cuh"

namespace galapagos::ops::cuda {
namespace {

/// The probabilities of a row of logits: exp(logit - shift - rest). Differences of two are taken with
/// __fsub_rn: with a multiplication fused into it, a difference of equal ones would not be 0.
struct Probabilities {
  const float* logits;
  float shift, rest;

  __device__ float operator[](std::int64_t i) const { return expf((logits[i] - shift) - rest); }
};

/// Both distributions of a row in this way, so that equal logits have equal probabilities.
__device__ Probabilities of_scale(const float* logits, float largest, float log_sum) {
  return {logits, largest, log_sum};
}

__device__ Probabilities of_log_sum(const float* logits, double log_sum) {
  const auto shift = static_cast<float>(log_sum);
  return {logits, shift, static_cast<float>(log_sum - static_cast<double>(shift))};
}

__device__ float sign(float x) {
  return static_cast<float>(x > 0) - static_cast<float>(x < 0);
}

struct Apart {
  double distance;  // sum(|p - q|)
  double leaning;   // sum(q sign(q - p))
};

/// Of the block's row, for all threads.
__device__ Apart apart(const Probabilities& p, const Probabilities& q, std::int64_t count) {
  double distance = 0, leaning = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const float share = q[i], difference = __fsub_rn(share, p[i]);
    distance += static_cast<double>(fabsf(difference));
    leaning += static_cast<double>(share * sign(difference));
  }
  return {block_reduce(distance, Sum{}), block_reduce(leaning, Sum{})};
}

/// The logits are q's.
__device__ void replace_by_gradient(const Probabilities& p, const Probabilities& q, double leaning,
                                    float weight, float* logits, std::int64_t count) {
  const auto common = static_cast<float>(leaning);
  const float half = 0.5f * weight;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const float share = q[i];
    logits[i] = half * share * (sign(__fsub_rn(share, p[i])) - common);
  }
}

__global__ void distances(const float* dense, const float* dense_scale, const float* other,
                          std::int64_t vocabulary, double* distance) {
  const float *p = dense + blockIdx.x * vocabulary, *q = other + blockIdx.x * vocabulary;
  const float* known = dense_scale + 2 * blockIdx.x;
  const RowScale scale = scale_of(q, vocabulary);
  const Apart found = apart(of_scale(p, known[0], known[1]),
                            of_scale(q, scale.largest, static_cast<float>(scale.log_sum)), vocabulary);
  if (threadIdx.x != 0) return;
  const double half = found.distance / 2;
  distance[blockIdx.x] = half > 1 ? 1 : half;  // NaN stays
}

__global__ void distance_gradient(const float* dense, const float* dense_scale, const float* weights,
                                  std::int64_t vocabulary, float* logits) {
  float* row = logits + blockIdx.x * vocabulary;
  const float* known = dense_scale + 2 * blockIdx.x;
  const RowScale scale = scale_of(row, vocabulary);
  const Probabilities p = of_scale(dense + blockIdx.x * vocabulary, known[0], known[1]),
                      q = of_scale(row, scale.largest, static_cast<float>(scale.log_sum));
  replace_by_gradient(p, q, apart(p, q, vocabulary).leaning, weights[blockIdx.x], row, vocabulary);
}

__global__ void distance_sums(const float* dense, const double* dense_log_sums, const float* other,
                              const double* other_log_sums, std::int64_t columns, double* sums) {
  const Apart found = apart(of_log_sum(dense + blockIdx.x * columns, dense_log_sums[blockIdx.x]),
                            of_log_sum(other + blockIdx.x * columns, other_log_sums[blockIdx.x]), columns);
  if (threadIdx.x != 0) return;
  sums[2 * blockIdx.x] = found.distance;
  sums[2 * blockIdx.x + 1] = found.leaning;
}

__global__ void slice_distance_gradient(const float* dense, const double* dense_log_sums,
                                        const double* leanings, const float* weights, const double* log_sums,
                                        std::int64_t columns, float* logits) {
  float* row = logits + blockIdx.x * columns;
  replace_by_gradient(of_log_sum(dense + blockIdx.x * columns, dense_log_sums[blockIdx.x]),
                      of_log_sum(row, log_sums[blockIdx.x]), leanings[blockIdx.x], weights[blockIdx.x], row,
                      columns);
}

dim3 one_block_per_row(const Tensor& logits) {
  return dim3(static_cast<unsigned>(logits.rows()));
}

}  // namespace

void total_variation(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                     const Tensor& other, const RowValues& distance) {
  if (dense.empty()) return;
  Resources& gpu = context.cuda();
  fill(gpu, distance, dense.rows(), [&](double* found) {
    launch(gpu, distances, one_block_per_row(dense), row_threads, 0, dense.floats(), dense_scale.floats(),
           other.floats(), dense.columns(), found);
  });
}

void total_variation_backward(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                              std::span<const float> weights, const Tensor& logits) {
  if (logits.empty()) return;
  Resources& gpu = context.cuda();
  const Array<float> factors = gpu.upload(weights);
  launch(gpu, distance_gradient, one_block_per_row(logits), row_threads, 0, dense.floats(),
         dense_scale.floats(), factors.data(), logits.columns(), logits.floats());
}

void slice_variation(const Context& context, const Tensor& dense, std::span<const double> dense_log_sums,
                     const Tensor& other, std::span<const double> other_log_sums, std::span<double> sums) {
  if (dense.rows() == 0) return;
  Resources& gpu = context.cuda();
  const Array<double> p_log_sums = gpu.upload(dense_log_sums);
  const Array<double> q_log_sums = gpu.upload(other_log_sums);
  const Array<double> result(2 * dense.rows(), "losses");
  launch(gpu, distance_sums, one_block_per_row(dense), row_threads, 0, dense.floats(), p_log_sums.data(),
         other.floats(), q_log_sums.data(), dense.columns(), result.data());
  gpu.download(result.data(), sums.first(static_cast<std::size_t>(2 * dense.rows())));
}

void slice_variation_backward(const Context& context, const Tensor& dense,
                              std::span<const double> dense_log_sums, std::span<const double> leanings,
                              std::span<const float> weights, std::span<const double> log_sums,
                              const Tensor& logits) {
  if (logits.empty()) return;
  Resources& gpu = context.cuda();
  const Array<double> p_log_sums = gpu.upload(dense_log_sums);
  const Array<double> q_log_sums = gpu.upload(log_sums);
  const Array<double> leans = gpu.upload(leanings);
  const Array<float> factors = gpu.upload(weights);
  launch(gpu, slice_distance_gradient, one_block_per_row(logits), row_threads, 0, dense.floats(),
         p_log_sums.data(), leans.data(), factors.data(), q_log_sums.data(), logits.columns(),
         logits.floats());
}

}  // namespace galapagos::ops::cuda
