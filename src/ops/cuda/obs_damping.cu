#include "../backends.hpp"
#include "launch.cuh"
#include "reduce.cuh"

namespace galapagos::ops::cuda {
namespace {

/// One thread block per column: the diagonal, 1 where the column is dead, whose weights become zero; the
/// follower may be null.
__global__ void bury_dead(float* h, float* weight, float* follower, std::int64_t n, std::int64_t rows,
                          bool any_dead, float* diagonal, int* dead) {
  const std::int64_t j = blockIdx.x;
  const float value = h[j * n + j];
  const bool is_dead = value == 0 && any_dead;
  if (is_dead) {
    for (std::int64_t i = threadIdx.x; i < rows; i += blockDim.x) {
      weight[j * rows + i] = 0;
      if (follower != nullptr) follower[j * rows + i] = 0;
    }
  }
  if (threadIdx.x != 0) return;
  diagonal[j] = is_dead ? 1.0f : value;
  dead[j] = is_dead ? 1 : 0;
}

__global__ void sum_up(const float* diagonal, const int* dead, std::int64_t n, double relative_damping,
                       double least_mean, ObsDamping* damping) {
  double trace = 0;
  long long count = 0;
  for (std::int64_t j = threadIdx.x; j < n; j += blockDim.x) {
    trace += static_cast<double>(diagonal[j]);
    count += dead[j];
  }
  trace = block_reduce(trace, Sum{});
  count = block_reduce(count, Sum{});
  if (threadIdx.x == 0)
    *damping = {relative_damping * fmax(trace / static_cast<double>(n), least_mean), count};
}

/// One thread block per column: the damped diagonal; a column of zero weights leaves H but for it.
__global__ void raise_diagonal(float* h, const float* weight, std::int64_t n, std::int64_t rows,
                               const float* diagonal, const ObsDamping* damping) {
  const std::int64_t j = blockIdx.x;
  int nonzero = 0;
  for (std::int64_t i = threadIdx.x; i < rows; i += blockDim.x) nonzero |= weight[j * rows + i] != 0;
  if (block_reduce(nonzero, Greatest{}) != 0) {
    if (threadIdx.x == 0)
      h[j * n + j] = static_cast<float>(static_cast<double>(diagonal[j]) + damping->added);
    return;
  }
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (i < j) {
      h[j * n + i] = 0;
    } else {
      h[i * n + j] = i == j ? 1.0f : 0.0f;
    }
  }
}

}  // namespace

ObsDamping obs_damp(const Context& context, ObsState& state, double relative_damping, double least_mean) {
  Resources& gpu = context.cuda();
  const std::int64_t n = state.columns, rows = state.rows;
  if (n == 0) return {};
  float* follower = state.followed() ? state.follower->floats() : nullptr;
  const Array<float> diagonal(n, "the damping of a Hessian");
  const Array<int> dead(n, "the damping of a Hessian");
  const Array<ObsDamping> damping(1, "the damping of a Hessian");
  const dim3 blocks(static_cast<unsigned>(n));
  launch(gpu, bury_dead, blocks, block_threads, 0, state.inverse->floats(), state.weight->floats(), follower,
         n, rows, least_mean == 0, diagonal.data(), dead.data());
  launch(gpu, sum_up, dim3(1), 1024, 0, diagonal.data(), dead.data(), n, relative_damping, least_mean,
         damping.data());
  launch(gpu, raise_diagonal, blocks, block_threads, 0, state.inverse->floats(),
         state.followed() ? follower : state.weight->floats(), n, rows, diagonal.data(), damping.data());
  return gpu.download(damping.data());
}

}  // namespace galapagos::ops::cuda
