#include "../backends.hpp"
#include "obs_state.cuh"
#include "reduce.cuh"

#include <cmath>
#include <numeric>
#include <vector>

namespace galapagos::ops::cuda {
namespace {

/// M_GG of structures of `size` columns, the lower triangle of each one after the other: a thread block per
/// row.
__global__ void gather_diagonal_blocks(const float* inverse, std::int64_t n, std::int64_t size,
                                       std::int64_t first, float* blocks) {
  const std::int64_t row = blockIdx.x, j = first + row, begin = first + row / size * size;
  for (std::int64_t i = threadIdx.x; i <= j - begin; i += blockDim.x)
    blocks[row * size + i] = inverse[j * n + begin + i];
}

/// The sum of squares of each structure's rows; infinity where its Cholesky factor does not exist.
__global__ void square_structures(const float* solved, std::int64_t count, const int* infos, double* scores) {
  const float* values = solved + blockIdx.x * count;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x)
    sum += static_cast<double>(values[i]) * values[i];
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x == 0) scores[blockIdx.x] = infos[blockIdx.x] == 0 ? sum : static_cast<double>(INFINITY);
}

/// Pointers to pieces of `pieces` floats each.
Array<float*> pointers_to(Resources& gpu, float* first, std::int64_t piece, std::int64_t count) {
  std::vector<float*> pointers;
  for (std::int64_t i = 0; i < count; ++i) pointers.push_back(first + i * piece);
  return gpu.upload(std::span<float* const>(pointers));
}

/// Cholesky factors, in place, of `count` matrices [size, size] one after the other.
void factor(Resources& gpu, float* const* blocks, std::int64_t size, std::int64_t count, int* infos) {
  check_solver(cusolverDnSpotrfBatched(gpu.solver(), CUBLAS_FILL_MODE_UPPER, static_cast<int>(size),
                                       const_cast<float**>(blocks), static_cast<int>(size), infos,
                                       static_cast<int>(count)),
               "potrfBatched");
}

/// z [size, left]: the rows of M of a structure, without its own columns.
__global__ void gather_rows_of(const float* inverse, std::int64_t n, std::int64_t size, std::int64_t first,
                               float* z) {
  const std::int64_t left = n - size, row = blockIdx.x;
  for (std::int64_t i = threadIdx.x; i < left; i += blockDim.x)
    z[row * left + i] = symmetric_at(inverse, n, i < first ? i : i + size, first + row);
}

}  // namespace

bool obs_structure_scores(const Context& context, const ObsState& state, std::int64_t size,
                          std::vector<double>& scores) {
  Resources& gpu = context.cuda();
  const std::int64_t structures = state.columns / size, rows = state.rows, columns = structures * size;
  scores.assign(static_cast<std::size_t>(structures), 0.0);
  if (structures == 0) return true;
  const Array<float> blocks(columns * size, "scores of OBS"), solved(columns * rows, "scores of OBS");
  const Array<int> infos(structures, "scores of OBS");
  const Array<double> sums(structures, "scores of OBS");
  launch(gpu, gather_diagonal_blocks, dim3(static_cast<unsigned>(columns)), block_threads, 0,
         state.inverse->floats(), state.columns, size, std::int64_t{0}, blocks.data());
  copy_bytes(reinterpret_cast<std::byte*>(solved.data()), Device::cuda, state.weight->data, Device::cuda,
             static_cast<std::size_t>(columns * rows) * sizeof(float));
  const Array<float*> factors = pointers_to(gpu, blocks.data(), size * size, structures);
  const Array<float*> sides = pointers_to(gpu, solved.data(), size * rows, structures);
  factor(gpu, factors.data(), size, structures, infos.data());
  // trace(W_G (L L^T)^-1 W_G^T) = |L^-1 W_G^T|^2
  if (rows > 0) {
    const float one = 1;
    check_blas(cublasStrsmBatched(gpu.blas(), CUBLAS_SIDE_RIGHT, CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_N,
                                  CUBLAS_DIAG_NON_UNIT, static_cast<int>(rows), static_cast<int>(size), &one,
                                  factors.data(), static_cast<int>(size), sides.data(),
                                  static_cast<int>(rows), static_cast<int>(structures)),
               "cublasStrsmBatched");
  }
  launch(gpu, square_structures, dim3(static_cast<unsigned>(structures)), block_threads, 0, solved.data(),
         size * rows, infos.data(), sums.data());
  gpu.download(sums.data(), std::span<double>(scores));
  return std::all_of(scores.begin(), scores.end(), [](double score) { return std::isfinite(score); });
}

bool obs_remove_structure(const Context& context, ObsState& state, std::int64_t size, std::int64_t structure,
                          std::vector<double>& follower_scores) {
  Resources& gpu = context.cuda();
  const std::int64_t first = structure * size, rows = state.rows, left = state.columns - size;
  const Array<float> block(size * size, "factors of OBS"), y(size * rows, "factors of OBS"),
      follower_y(state.followed() ? y.size() : 0, "factors of OBS"), z(size * left, "factors of OBS");
  const Array<int> info(1, "a flag");
  launch(gpu, gather_diagonal_blocks, dim3(static_cast<unsigned>(size)), block_threads, 0,
         state.inverse->floats(), state.columns, size, first, block.data());
  const Array<float*> pointer = pointers_to(gpu, block.data(), size * size, 1);
  factor(gpu, pointer.data(), size, 1, info.data());
  if (gpu.download(info.data()) != 0) return false;

  // y = L^-1 W_G^T [size, rows] and z = L^-1 M_G: [size, columns left]; then W -= z^T y and M -= z^T z.
  const auto divide = [&](const Tensor& weight, float* to) {
    copy_bytes(reinterpret_cast<std::byte*>(to), Device::cuda, weight.slice(first, size).data, Device::cuda,
               static_cast<std::size_t>(size * rows) * sizeof(float));
    solve_lower_left(gpu, size, rows, block.data(), to);
  };
  divide(state.weight, y.data());
  if (state.followed()) {
    divide(state.follower, follower_y.data());
    const Array<double> score(1, "scores of OBS");
    square_sums(gpu, follower_y.data(), 1, size * rows, score.data());
    follower_scores.push_back(gpu.download(score.data()));
  }
  launch(gpu, gather_rows_of, dim3(static_cast<unsigned>(size)), block_threads, 0, state.inverse->floats(),
         state.columns, size, first, z.data());
  solve_lower_left(gpu, size, left, block.data(), z.data());

  std::vector<std::int32_t> kept(static_cast<std::size_t>(left));
  std::iota(kept.begin(), kept.begin() + first, 0);
  std::iota(kept.begin() + first, kept.end(), static_cast<std::int32_t>(first + size));
  const Array<std::int32_t> positions = gpu.upload(std::span<const std::int32_t>(kept));
  ObsSpare spare(state);
  keep_columns(gpu, state, spare, positions.data(), left, info.data());
  subtract_factors(gpu, state, size, z.data(), y.data(), follower_y.data());
  return true;
}

}  // namespace galapagos::ops::cuda
