#include "../backends.hpp"
#include "obs_state.cuh"
#include "reduce.cuh"

#include <numeric>
#include <utility>
#include <vector>

namespace galapagos::ops::cuda {
namespace {

/// A thread block per column kept: its row of W, of the follower, which may be null, and that of M up to the
/// diagonal.
__global__ void move_kept(const float* weight, const float* follower, const float* inverse, std::int64_t n,
                          std::int64_t rows, const std::int32_t* kept, std::int64_t left, const int* failed,
                          float* new_weight, float* new_follower, float* new_inverse) {
  if (*failed != 0) return;
  const std::int64_t to = blockIdx.x, from = kept[to];
  for (std::int64_t i = threadIdx.x; i < rows; i += blockDim.x) {
    new_weight[to * rows + i] = weight[from * rows + i];
    if (follower != nullptr) new_follower[to * rows + i] = follower[from * rows + i];
  }
  for (std::int64_t j = threadIdx.x; j <= to; j += blockDim.x)
    new_inverse[to * left + j] = inverse[from * n + kept[j]];
}

/// A thread block per piece.
__global__ void square_pieces(const float* values, std::int64_t size, double* sums) {
  const float* piece = values + blockIdx.x * size;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < size; i += blockDim.x)
    sum += static_cast<double>(piece[i]) * piece[i];
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/// A thread block per row of `start`; position: its row in `weight`, or -1 where that is zero.
__global__ void square_changes(const float* start, std::int64_t rows, const std::int64_t* position,
                               const float* weight, double* sums) {
  const std::int64_t k = position[blockIdx.x];
  const float* before = start + blockIdx.x * rows;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < rows; i += blockDim.x) {
    const double change = (k < 0 ? 0.0 : static_cast<double>(weight[k * rows + i])) - before[i];
    sum += change * change;
  }
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

}  // namespace

void keep_columns(Resources& gpu, ObsState& state, ObsSpare& spare, const std::int32_t* kept,
                  std::int64_t left, const int* failed) {
  launch(gpu, move_kept, dim3(static_cast<unsigned>(left)), block_threads, 0, state.weight->floats(),
         state.follower->floats(), state.inverse->floats(), state.columns, state.rows, kept, left, failed,
         spare.weight->floats(), spare.follower->floats(), spare.inverse->floats());
  std::swap(state.weight, spare.weight);
  std::swap(state.follower, spare.follower);
  std::swap(state.inverse, spare.inverse);
  state.columns = left;
}

void subtract_factors(Resources& gpu, ObsState& state, std::int64_t width, const float* factors,
                      const float* u, const float* follower_u) {
  const std::int64_t left = state.columns, rows = state.rows;
  gemm(gpu, true, false, left, rows, width, -1.0f, factors, left, u, rows, DType::f32, 1.0f,
       state.weight->floats(), rows);
  if (state.followed()) {
    gemm(gpu, true, false, left, rows, width, -1.0f, factors, left, follower_u, rows, DType::f32, 1.0f,
         state.follower->floats(), rows);
  }
  add_lower_gram(gpu, left, width, -1.0f, factors, DType::f32, state.inverse->floats());
}

void square_sums(Resources& gpu, const float* values, std::int64_t pieces, std::int64_t size, double* sums) {
  launch(gpu, square_pieces, dim3(static_cast<unsigned>(pieces)), block_threads, 0, values, size, sums);
}

double obs_change(const Context& context, const Tensor& start, std::span<const std::int64_t> kept,
                  const Tensor& weight) {
  Resources& gpu = context.cuda();
  const std::int64_t n = start.rows(), rows = start.columns();
  if (n == 0) return 0;
  std::vector<std::int64_t> position(static_cast<std::size_t>(n), -1);
  for (std::size_t k = 0; k < kept.size(); ++k) {
    position[static_cast<std::size_t>(kept[k])] = static_cast<std::int64_t>(k);
  }
  const Array<std::int64_t> positions = gpu.upload(std::span<const std::int64_t>(position));
  const Array<double> squares(n, "the change of a weight");
  launch(gpu, square_changes, dim3(static_cast<unsigned>(n)), block_threads, 0, start.floats(), rows,
         positions.data(), weight.floats(), squares.data());
  std::vector<double> sums(static_cast<std::size_t>(n));
  gpu.download(squares.data(), std::span<double>(sums));
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace galapagos::ops::cuda
