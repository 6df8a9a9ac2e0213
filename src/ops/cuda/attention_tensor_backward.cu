// Gradients of causal attention on tensor cores. Scores are formed again in registers (Dao et al. 2022,
// algorithm 4), once with a tile of queries at rest for d_q and once with a tile of keys for d_k and d_v, so
// that every sum has one owner and one order.
#include "attention_tensor.cuh"
#include "launch.cuh"
#include "tuning.hpp"

namespace galapagos::ops::cuda {
namespace {

/// S = A1 B1^T and T = A2 B2^T [16, attention_moving_rows] of a warp, for tiles in shared memory.
template <int columns>
__device__ void multiply(float (&s)[attention_moving_rows / 8][4], float (&t)[attention_moving_rows / 8][4],
                         const __nv_bfloat16* a1, const __nv_bfloat16* b1, const __nv_bfloat16* a2,
                         const __nv_bfloat16* b2) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int own = warp * 16 * stride_of<columns>;
#pragma unroll
  for (int n = 0; n < attention_moving_rows / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = t[n][i] = 0;
  }
#pragma unroll
  for (int k = 0; k < columns / 16; ++k) {
    unsigned first[4], second[4];
    load_a<columns>(first, a1 + own + k * 16);
    load_a<columns>(second, a2 + own + k * 16);
#pragma unroll
    for (int n = 0; n < attention_moving_rows / 16; ++n) {
      unsigned b[4];
      load_b<columns>(b, b1 + n * 16 * stride_of<columns> + k * 16);
      mma(s[2 * n], first, b[0], b[1]);
      mma(s[2 * n + 1], first, b[2], b[3]);
      load_b<columns>(b, b2 + n * 16 * stride_of<columns> + k * 16);
      mma(t[2 * n], second, b[0], b[1]);
      mma(t[2 * n + 1], second, b[2], b[3]);
    }
  }
}

template <int columns>
__global__ void __launch_bounds__(tensor_threads, tensor_blocks<columns>)
    query_gradient(TensorInput x, const float* log_sums, const float* products,
                   const std::int32_t* kv_of_head, const SequenceTile* tiles, __nv_bfloat16* d_q) {
  constexpr int stride = stride_of<columns>;
  const SequenceTile tile = tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), kv_head = kv_of_head[head];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  __nv_bfloat16* queries = tensor_memory;
  __nv_bfloat16* d_rows = queries + tile_rows * stride;
  const auto keys = [&](int buffer) {
    return d_rows + (tile_rows + 2 * buffer * attention_moving_rows) * stride;
  };
  const auto values = [&](int buffer) { return keys(buffer) + attention_moving_rows * stride; };
  copy_tile<columns, tile_rows>(x.q, x.heads, head, tile.first, tile.end, queries);
  copy_tile<columns, tile_rows>(x.d_out, x.heads, head, tile.first, tile.end, d_rows);
  const auto copy_moving = [&](int key, int buffer) {
    copy_tile<columns, attention_moving_rows>(x.k, x.kv_heads, kv_head, key, tile.end, keys(buffer));
    copy_tile<columns, attention_moving_rows>(x.v, x.kv_heads, kv_head, key, tile.end, values(buffer));
  };
  copy_moving(tile.begin, 0);

  const int row = tile.first + warp * 16 + lane / 4;
  float shift[2], product[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::int64_t at = static_cast<std::int64_t>(row + 8 * half) * x.heads + head;
    shift[half] = row + 8 * half < tile.end ? log_sums[at] * log2_e : 0.0f;
    product[half] = row + 8 * half < tile.end ? products[at] : 0.0f;
  }
  const float scale = x.scale * log2_e;
  const int last = min(tile.first + tile_rows, tile.end);
  float sums[columns / 8][4] = {};
  for (int key = tile.begin, buffer = 0; key < last; key += attention_moving_rows, buffer ^= 1) {
    wait_for_copies();
    __syncthreads();
    if (key + attention_moving_rows < last) copy_moving(key + attention_moving_rows, buffer ^ 1);
    float s[attention_moving_rows / 8][4], ds[attention_moving_rows / 8][4];
    multiply<columns>(s, ds, queries, keys(buffer), d_rows, values(buffer));
#pragma unroll
    for (int n = 0; n < attention_moving_rows / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool seen = key + n * 8 + lane % 4 * 2 + i % 2 <= row + i / 2 * 8;
        const float p = seen ? exp2f(s[n][i] * scale - shift[i / 2]) : 0.0f;
        ds[n][i] = p * (ds[n][i] - product[i / 2]) * x.scale;
      }
    }
    add_product<columns, attention_moving_rows>(sums, ds, keys(buffer));
  }
  store_sums<columns>(sums, x.heads, head, tile.first + warp * 16, tile.end, d_q);
}

template <int columns>
__global__ void __launch_bounds__(tensor_threads)
    key_gradient(TensorInput x, const float* log_sums, const float* products, const std::int32_t* group_heads,
                 const std::int32_t* group_firsts, const SequenceTile* tiles, __nv_bfloat16* d_k,
                 __nv_bfloat16* d_v) {
  constexpr int stride = stride_of<columns>;
  __shared__ float shifts[2][attention_moving_rows], known_products[2][attention_moving_rows];
  const SequenceTile tile = tiles[blockIdx.x];
  const int kv_head = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  __nv_bfloat16* keys = tensor_memory;
  __nv_bfloat16* values = keys + tile_rows * stride;
  const auto queries = [&](int buffer) {
    return values + (tile_rows + 2 * buffer * attention_moving_rows) * stride;
  };
  const auto d_rows = [&](int buffer) { return queries(buffer) + attention_moving_rows * stride; };
  copy_tile<columns, tile_rows>(x.k, x.kv_heads, kv_head, tile.first, tile.end, keys);
  copy_tile<columns, tile_rows>(x.v, x.kv_heads, kv_head, tile.first, tile.end, values);

  // The tiles of queries of all heads that look at these keys, one head's after the other's.
  const int per_head = (tile.end - tile.first + attention_moving_rows - 1) / attention_moving_rows;
  const int first_head = group_firsts[kv_head];
  const int steps = (group_firsts[kv_head + 1] - first_head) * per_head;
  const auto copy_moving = [&](int step, int buffer) {
    const int head = group_heads[first_head + step / per_head];
    const int first = tile.first + step % per_head * attention_moving_rows;
    copy_tile<columns, attention_moving_rows>(x.q, x.heads, head, first, tile.end, queries(buffer));
    copy_tile<columns, attention_moving_rows>(x.d_out, x.heads, head, first, tile.end, d_rows(buffer));
    const int at = static_cast<int>(threadIdx.x);
    if (at >= attention_moving_rows) return;
    const std::int64_t from = static_cast<std::int64_t>(first + at) * x.heads + head;
    shifts[buffer][at] = first + at < tile.end ? log_sums[from] * log2_e : 0.0f;
    known_products[buffer][at] = first + at < tile.end ? products[from] : 0.0f;
  };
  if (steps > 0) copy_moving(0, 0);

  const float scale = x.scale * log2_e;
  const int row = tile.first + warp * 16 + lane / 4;  // of the keys
  float key_sums[columns / 8][4] = {}, value_sums[columns / 8][4] = {};
  for (int step = 0, buffer = 0; step < steps; ++step, buffer ^= 1) {
    wait_for_copies();
    __syncthreads();
    if (step + 1 < steps) copy_moving(step + 1, buffer ^ 1);
    float p[attention_moving_rows / 8][4], ds[attention_moving_rows / 8][4];
    multiply<columns>(p, ds, keys, queries(buffer), values, d_rows(buffer));
    const int first = tile.first + step % per_head * attention_moving_rows;
#pragma unroll
    for (int n = 0; n < attention_moving_rows / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = n * 8 + lane % 4 * 2 + i % 2;
        const bool seen = row + i / 2 * 8 <= first + at && first + at < tile.end;
        p[n][i] = seen ? exp2f(p[n][i] * scale - shifts[buffer][at]) : 0.0f;
        ds[n][i] = p[n][i] * (ds[n][i] - known_products[buffer][at]) * x.scale;
      }
    }
    add_product<columns, attention_moving_rows>(value_sums, p, d_rows(buffer));
    add_product<columns, attention_moving_rows>(key_sums, ds, queries(buffer));
  }
  wait_for_copies();
  store_sums<columns>(key_sums, x.kv_heads, kv_head, tile.first + warp * 16, tile.end, d_k);
  store_sums<columns>(value_sums, x.kv_heads, kv_head, tile.first + warp * 16, tile.end, d_v);
}

}  // namespace

void tensor_attention_backward(Resources& gpu, const AttentionInput& input, const AttentionGradients& to) {
  const TensorInput x{bf16_of(input.q),
                      bf16_of(input.k),
                      bf16_of(input.v),
                      bf16_of(to.d_out),
                      static_cast<int>(input.heads()),
                      static_cast<int>(input.kv_heads()),
                      input.scale()};
  const std::vector<SequenceTile> back = tiles_of(input.offsets, tile_rows, true),
                                  ahead = tiles_of(input.offsets, tile_rows, false);
  const HeadGroups groups(input.kv_of_head, input.kv_heads());
  const Array<SequenceTile> query_tiles = gpu.upload(std::span<const SequenceTile>(back));
  const Array<SequenceTile> key_tiles = gpu.upload(std::span<const SequenceTile>(ahead));
  const Array<std::int32_t> kv_of_head = gpu.upload(input.kv_of_head);
  const Array<std::int32_t> heads = gpu.upload(std::span<const std::int32_t>(groups.heads));
  const Array<std::int32_t> firsts = gpu.upload(std::span<const std::int32_t>(groups.firsts));
  with_head_size(input.head_dim, [&]<int columns>() {
    constexpr std::size_t bytes =
        (2 * tile_rows + 4 * attention_moving_rows) * stride_of<columns> * sizeof(__nv_bfloat16);
    launch(gpu, query_gradient<columns>,
           dim3(static_cast<unsigned>(back.size()), static_cast<unsigned>(x.heads)), tensor_threads, bytes, x,
           to.log_sums.floats(), to.products, kv_of_head.data(), query_tiles.data(), bf16_to(to.d_q));
    launch(gpu, key_gradient<columns>,
           dim3(static_cast<unsigned>(ahead.size()), static_cast<unsigned>(x.kv_heads)), tensor_threads,
           bytes, x, to.log_sums.floats(), to.products, heads.data(), firsts.data(), key_tiles.data(),
           bf16_to(to.d_k), bf16_to(to.d_v));
  });
}

}  // namespace galapagos::ops::cuda
