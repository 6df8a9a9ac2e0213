// Causal attention on tensor cores: online softmax over tiles of keys (Milakov and Gimelshein 2018; Dao et
// al. 2022), scores in registers only, the next tile copied behind the computation on this one.
#include "attention_tensor.cuh"
#include "launch.cuh"
#include "reduce.cuh"

namespace galapagos::ops::cuda {
namespace {

constexpr int key_rows = tile_rows;  // a tile of queries meets its diagonal in one tile of keys

template <int columns>
__global__ void __launch_bounds__(tensor_threads, tensor_blocks<columns>)
    attend(TensorInput x, const std::int32_t* kv_of_head, const SequenceTile* tiles, __nv_bfloat16* out,
           float* log_sums) {
  constexpr int tile_size = key_rows * stride_of<columns>;
  const SequenceTile tile = tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), kv_head = kv_of_head[head];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const auto keys = [](int buffer) { return tensor_memory + 2 * buffer * tile_size; };
  const auto values = [](int buffer) { return tensor_memory + (2 * buffer + 1) * tile_size; };

  // The queries pass through the place of the second tile of keys.
  copy_tile<columns, tile_rows>(x.q, x.heads, head, tile.first, tile.end, keys(1));
  copy_tile<columns, key_rows>(x.k, x.kv_heads, kv_head, tile.begin, tile.end, keys(0));
  copy_tile<columns, key_rows>(x.v, x.kv_heads, kv_head, tile.begin, tile.end, values(0));
  wait_for_copies();
  __syncthreads();
  unsigned queries[columns / 16][4];
#pragma unroll
  for (int k = 0; k < columns / 16; ++k)
    load_a<columns>(queries[k], keys(1) + warp * 16 * stride_of<columns> + k * 16);

  float gathered[columns / 8][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, sums[2] = {0, 0};  // of rows lane / 4 and lane / 4 + 8
  const float scale = x.scale * log2_e;
  const int row = tile.first + warp * 16 + lane / 4;
  for (int key = tile.begin, buffer = 0; key <= tile.first; key += key_rows, buffer ^= 1) {
    wait_for_copies();
    __syncthreads();
    if (key < tile.first) {
      const int next = key + key_rows;
      copy_tile<columns, key_rows>(x.k, x.kv_heads, kv_head, next, tile.end, keys(buffer ^ 1));
      copy_tile<columns, key_rows>(x.v, x.kv_heads, kv_head, next, tile.end, values(buffer ^ 1));
    }
    float scores[key_rows / 8][4] = {};
#pragma unroll
    for (int k = 0; k < columns / 16; ++k) {
#pragma unroll
      for (int n = 0; n < key_rows / 16; ++n) {
        unsigned b[4];
        load_b<columns>(b, keys(buffer) + n * 16 * stride_of<columns> + k * 16);
        mma(scores[2 * n], queries[k], b[0], b[1]);
        mma(scores[2 * n + 1], queries[k], b[2], b[3]);
      }
    }
    if (key == tile.first) {
#pragma unroll
      for (int n = 0; n < key_rows / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (key + n * 8 + lane % 4 * 2 + i % 2 > row + i / 2 * 8) scores[n][i] = -INFINITY;
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[half];
#pragma unroll
      for (int n = 0; n < key_rows / 8; ++n)
        most = fmaxf(most, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      most = fmaxf(most, __shfl_xor_sync(all_lanes, most, 1));  // four lanes have a row
      most = fmaxf(most, __shfl_xor_sync(all_lanes, most, 2));
      const float shrink = exp2f((largest[half] - most) * scale), shift = most * scale;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < key_rows / 8; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[n][i] = exp2f(scores[n][i] * scale - shift);
          sum += scores[n][i];
        }
      }
      largest[half] = most;
      sums[half] = sums[half] * shrink + sum;
#pragma unroll
      for (int n = 0; n < columns / 8; ++n) {
        gathered[n][2 * half] *= shrink;
        gathered[n][2 * half + 1] *= shrink;
      }
    }
    add_product<columns, key_rows>(gathered, scores, values(buffer));
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = sums[half];
    sum += __shfl_xor_sync(all_lanes, sum, 1);
    sum += __shfl_xor_sync(all_lanes, sum, 2);
    const float factor = 1.0f / sum;
#pragma unroll
    for (int n = 0; n < columns / 8; ++n) {
      gathered[n][2 * half] *= factor;
      gathered[n][2 * half + 1] *= factor;
    }
    const int at = row + 8 * half;
    if (log_sums != nullptr && lane % 4 == 0 && at < tile.end)
      log_sums[static_cast<std::int64_t>(at) * x.heads + head] = largest[half] * x.scale + log2f(sum) * ln_2;
  }
  store_sums<columns>(gathered, x.heads, head, tile.first + warp * 16, tile.end, out);
}

}  // namespace

void tensor_attention(Resources& gpu, const AttentionInput& input, const Tensor& out,
                      const Tensor& log_sums) {
  const TensorInput x{bf16_of(input.q),
                      bf16_of(input.k),
                      bf16_of(input.v),
                      nullptr,
                      static_cast<int>(input.heads()),
                      static_cast<int>(input.kv_heads()),
                      input.scale()};
  const std::vector<SequenceTile> tiles = tiles_of(input.offsets, tile_rows, true);
  const Array<SequenceTile> on_gpu = gpu.upload(std::span<const SequenceTile>(tiles));
  const Array<std::int32_t> kv_of_head = gpu.upload(input.kv_of_head);
  with_head_size(input.head_dim, [&]<int columns>() {
    constexpr std::size_t bytes = 4 * key_rows * stride_of<columns> * sizeof(__nv_bfloat16);
    launch(gpu, attend<columns>, dim3(static_cast<unsigned>(tiles.size()), static_cast<unsigned>(x.heads)),
           tensor_threads, bytes, x, kv_of_head.data(), on_gpu.data(), bf16_to(out), log_sums.floats());
  });
}

}  // namespace galapagos::ops::cuda
