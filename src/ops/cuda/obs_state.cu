#include "obs_state.cuh"

#include <utility>

namespace galapagos::ops::cuda {
namespace {

/// A thread block per column kept: its row of W, and that of M up to the diagonal.
__global__ void move_kept(const float* weight, const float* inverse, std::int64_t n, std::int64_t rows,
                          const std::int32_t* kept, std::int64_t left, const int* failed, float* new_weight,
                          float* new_inverse) {
  if (*failed != 0) return;
  const std::int64_t to = blockIdx.x, from = kept[to];
  for (std::int64_t i = threadIdx.x; i < rows; i += blockDim.x)
    new_weight[to * rows + i] = weight[from * rows + i];
  for (std::int64_t j = threadIdx.x; j <= to; j += blockDim.x)
    new_inverse[to * left + j] = inverse[from * n + kept[j]];
}

}  // namespace

void keep_columns(Resources& gpu, ObsState& state, ObsSpare& spare, const std::int32_t* kept,
                  std::int64_t left, const int* failed) {
  launch(gpu, move_kept, dim3(static_cast<unsigned>(left)), block_threads, 0, state.weight->floats(),
         state.inverse->floats(), state.columns, state.rows, kept, left, failed, spare.weight->floats(),
         spare.inverse->floats());
  std::swap(state.weight, spare.weight);
  std::swap(state.inverse, spare.inverse);
  state.columns = left;
}

void subtract_factors(Resources& gpu, ObsState& state, std::int64_t width, const float* factors,
                      const float* u) {
  const std::int64_t left = state.columns, rows = state.rows;
  gemm(gpu, true, false, left, rows, width, -1.0f, factors, left, u, rows, DType::f32, 1.0f,
       state.weight->floats(), rows);
  add_lower_gram(gpu, left, width, -1.0f, factors, DType::f32, state.inverse->floats());
}

}  // namespace galapagos::ops::cuda
