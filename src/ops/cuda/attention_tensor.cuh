#pragma once

#include "attention_kernels.hpp"
#include "mma.cuh"
#include "tuning.hpp"

// What the tensor-core kernels of both directions share. A warp owns 16 rows of a tile.
namespace galapagos::ops::cuda {

constexpr int tensor_threads = 32 * tensor_warps;
constexpr int tile_rows = 16 * tensor_warps;
/// Blocks that a multiprocessor is to hold: left alone, heads of 128 take registers for two. Three are 4 %
/// faster on an H100; smaller heads lose by the same.
template <int columns>
constexpr int tensor_blocks = columns >= 128 ? 3 : 1;

constexpr float log2_e = 1.44269504f;
constexpr float ln_2 = 0.693147181f;

/// q, k, v and d_out in bf16, with the number of heads in a row of each.
struct TensorInput {
  const __nv_bfloat16 *q, *k, *v, *d_out;
  int heads, kv_heads;
  float scale;
};

inline const __nv_bfloat16* bf16_of(const Tensor& tensor) {
  return reinterpret_cast<const __nv_bfloat16*>(tensor.data);
}
inline __nv_bfloat16* bf16_to(const Tensor& tensor) {
  return reinterpret_cast<__nv_bfloat16*>(tensor.data);
}

/// Tiles lie in shared memory with rows of `columns` + 8 values, so that eight rows start in eight different
/// groups of banks.
template <int columns>
constexpr int stride_of = columns + 8;

/// Starts copying rows [first, first + rows) of one head; zero from `end` on.
template <int columns, int rows>
__device__ void copy_tile(const __nv_bfloat16* from, int heads, int head, int first, int end,
                          __nv_bfloat16* to) {
  constexpr int pieces = columns / 8;
  for (int e = static_cast<int>(threadIdx.x); e < rows * pieces; e += tensor_threads) {
    const int row = e / pieces, i = e % pieces * 8;
    const bool valid = first + row < end;
    const std::int64_t source = valid ? first + row : first;
    copy_async(to + row * stride_of<columns> + i, from + (source * heads + head) * columns + i, valid);
  }
}

/// A [16, 16] at `tile`, of a tile stored by rows.
template <int columns>
__device__ void load_a(unsigned (&a)[4], const __nv_bfloat16* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  load_matrices(a, tile + lane % 16 * stride_of<columns> + lane / 16 * 8);
}

/// B [16, 16] = the transpose of what lies at `tile`: words 0 and 1 of its first eight columns, 2 and 3 of
/// the others.
template <int columns>
__device__ void load_b(unsigned (&b)[4], const __nv_bfloat16* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  load_matrices(b, tile + (lane % 8 + lane / 16 * 8) * stride_of<columns> + lane / 8 % 2 * 8);
}

/// B [16, 16] as it lies at `tile`.
template <int columns>
__device__ void load_b_by_rows(unsigned (&b)[4], const __nv_bfloat16* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  load_transposed(b, tile + lane % 16 * stride_of<columns> + lane / 16 * 8);
}

/// sums [16, columns] += P [16, rows] Y [rows, columns], P as the products of score tiles are spread, rounded
/// to bf16.
template <int columns, int rows>
__device__ void add_product(float (&sums)[columns / 8][4], const float (&p)[rows / 8][4],
                            const __nv_bfloat16* y) {
#pragma unroll
  for (int k = 0; k < rows / 16; ++k) {
    const float(&left)[4] = p[2 * k];
    const float(&right)[4] = p[2 * k + 1];
    const unsigned a[4] = {pack(left[0], left[1]), pack(left[2], left[3]), pack(right[0], right[1]),
                           pack(right[2], right[3])};
#pragma unroll
    for (int n = 0; n < columns / 16; ++n) {
      unsigned b[4];
      load_b_by_rows<columns>(b, y + k * 16 * stride_of<columns> + n * 16);
      mma(sums[2 * n], a, b[0], b[1]);
      mma(sums[2 * n + 1], a, b[2], b[3]);
    }
  }
}

/// Writes the 16 rows of a warp, those before `end`, rounded to bf16.
template <int columns>
__device__ void store_sums(const float (&sums)[columns / 8][4], int heads, int head, int first, int end,
                           __nv_bfloat16* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + lane / 4 + 8 * half;
    if (row >= end) continue;
    __nv_bfloat16* out = to + (static_cast<std::int64_t>(row) * heads + head) * columns + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < columns / 8; ++n)
      *reinterpret_cast<unsigned*>(out + 8 * n) = pack(sums[n][2 * half], sums[n][2 * half + 1]);
  }
}

extern __shared__ __align__(16) __nv_bfloat16 tensor_memory[];

/// Calls work<head size>() for a head size of the tensor cores.
template <typename Work>
void with_head_size(std::int64_t head_dim, const Work& work) {
  if (head_dim == 64) return work.template operator()<64>();
  if (head_dim == 80) return work.template operator()<80>();
  if (head_dim == 96) return work.template operator()<96>();
  work.template operator()<128>();
}

}  // namespace galapagos::ops::cuda
