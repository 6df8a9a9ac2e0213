// Attention in fp32 for any head size, tile by tile in shared memory: the slower way.
#include "attention_kernels.hpp"
#include "launch.cuh"
#include "reduce.cuh"

#include <climits>

#include <galapagos/core/error.hpp>

namespace galapagos::ops::cuda {
namespace {

struct Extents {
  int tile;  // rows of queries, and of keys
  int head_dim;
  int heads, kv_heads;
  float scale, cap;
  int window;  // keys that a query sees, more than any sequence has where it sees all

  __host__ __device__ int stride() const { return head_dim + 1; }  // fewer bank conflicts
  __host__ __device__ int matrix() const { return tile * stride(); }
  __host__ __device__ int scores() const { return tile * (tile + 1); }
};

/// Rows [first, first + tile) of one head into shared memory, zero from `end` on.
__device__ void load_rows(const Extents& x, const float* from, int heads, int head, int first, int end,
                          float* to) {
  for (int e = static_cast<int>(threadIdx.x); e < x.tile * x.head_dim; e += blockDim.x) {
    const int row = e / x.head_dim, i = e % x.head_dim;
    to[row * x.stride() + i] =
        first + row < end ? from[(static_cast<std::int64_t>(first + row) * heads + head) * x.head_dim + i]
                          : 0.0f;
  }
}

__device__ void store_rows(const Extents& x, const float* from, int heads, int head, int first, int end,
                           float* to) {
  for (int e = static_cast<int>(threadIdx.x); e < x.tile * x.head_dim; e += blockDim.x) {
    const int row = e / x.head_dim, i = e % x.head_dim;
    if (first + row < end)
      to[(static_cast<std::int64_t>(first + row) * heads + head) * x.head_dim + i] =
          from[row * x.stride() + i];
  }
}

__device__ void clear(float* values, int count) {
  for (int e = static_cast<int>(threadIdx.x); e < count; e += blockDim.x) values[e] = 0;
}

__device__ float product(const float* a, const float* b, int count) {
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/// The first key that a tile of queries looks at. A tile of keys from there on holds the first key of every
/// one of its rows, so that no row's first scores are all of keys that it does not see.
__device__ int first_seen(const Extents& x, const SequenceTile& tile) {
  return max(tile.begin, tile.first - x.window + 1);
}

__device__ bool sees(const Extents& x, int query, int key) {
  return key <= query && query - key < x.window;
}

/// The score of a query and a key with its cap; `slope`: its derivative by the score without.
__device__ float score_of(const Extents& x, const float* query, const float* key, float& slope) {
  const float score = x.scale * product(query, key, x.head_dim);
  slope = 1;
  if (x.cap == 0) return score;
  const float share = tanhf(score / x.cap);
  slope = 1 - share * share;
  return x.cap * share;
}

extern __shared__ float shared_memory[];

__global__ void attend(Extents x, const float* q, const float* k, const float* v,
                       const std::int32_t* kv_of_head, const SequenceTile* tiles, float* out,
                       float* log_sums) {
  float* queries = shared_memory;
  float* keys = queries + x.matrix();
  float* values = keys + x.matrix();
  float* gathered = values + x.matrix();
  float* scores = gathered + x.matrix();
  float* largest = scores + x.scores();
  float* sums = largest + x.tile;
  float* shrinks = sums + x.tile;
  const SequenceTile tile = tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), kv_head = kv_of_head[head];
  const int thread = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x) / 32;
  load_rows(x, q, x.heads, head, tile.first, tile.end, queries);
  clear(gathered, x.matrix());
  for (int i = thread; i < x.tile; i += blockDim.x) {
    largest[i] = -INFINITY;
    sums[i] = 0;
  }
  for (int key = first_seen(x, tile); key < tile.first + x.tile; key += x.tile) {
    __syncthreads();
    load_rows(x, k, x.kv_heads, kv_head, key, tile.end, keys);
    load_rows(x, v, x.kv_heads, kv_head, key, tile.end, values);
    __syncthreads();
    for (int e = thread; e < x.tile * x.tile; e += blockDim.x) {
      const int i = e / x.tile, j = e % x.tile;
      float slope = 1;
      scores[i * (x.tile + 1) + j] = sees(x, tile.first + i, key + j)
                                         ? score_of(x, queries + i * x.stride(), keys + j * x.stride(), slope)
                                         : -INFINITY;
    }
    __syncthreads();
    for (int i = thread / 32; i < x.tile; i += warps) {
      float* row = scores + i * (x.tile + 1);
      float most = largest[i];
      for (int j = thread % 32; j < x.tile; j += 32) most = fmaxf(most, row[j]);
      most = warp_reduce(most, Greatest{});
      float sum = 0;
      for (int j = thread % 32; j < x.tile; j += 32) {
        row[j] = expf(row[j] - most);
        sum += row[j];
      }
      sum = warp_reduce(sum, Sum{});
      if (thread % 32 == 0) {
        shrinks[i] = expf(largest[i] - most);
        sums[i] = sums[i] * shrinks[i] + sum;
        largest[i] = most;
      }
    }
    __syncthreads();
    for (int e = thread; e < x.tile * x.head_dim; e += blockDim.x) {
      const int i = e / x.head_dim, c = e % x.head_dim;
      float sum = gathered[i * x.stride() + c] * shrinks[i];
      for (int j = 0; j < x.tile; ++j) sum += scores[i * (x.tile + 1) + j] * values[j * x.stride() + c];
      gathered[i * x.stride() + c] = sum;
    }
  }
  __syncthreads();
  for (int e = thread; e < x.tile * x.head_dim; e += blockDim.x)
    gathered[e / x.head_dim * x.stride() + e % x.head_dim] /= sums[e / x.head_dim];
  __syncthreads();
  store_rows(x, gathered, x.heads, head, tile.first, tile.end, out);
  if (log_sums == nullptr) return;
  for (int i = thread; i < x.tile && tile.first + i < tile.end; i += blockDim.x)
    log_sums[static_cast<std::int64_t>(tile.first + i) * x.heads + head] = largest[i] + logf(sums[i]);
}

/// P and dS of a tile of queries and one of keys, in shared memory.
__device__ void form_scores(const Extents& x, const float* queries, const float* keys, const float* values,
                            const float* d_rows, const float* log_sums, const float* products, int head,
                            int first, int key, int end, float* p, float* ds) {
  for (int e = static_cast<int>(threadIdx.x); e < x.tile * x.tile; e += blockDim.x) {
    const int i = e / x.tile, j = e % x.tile;
    float weight = 0, gradient = 0;
    if (sees(x, first + i, key + j) && first + i < end) {
      const std::int64_t at = static_cast<std::int64_t>(first + i) * x.heads + head;
      float slope = 1;
      const float score = score_of(x, queries + i * x.stride(), keys + j * x.stride(), slope);
      weight = expf(score - log_sums[at]);
      gradient =
          slope * (product(d_rows + i * x.stride(), values + j * x.stride(), x.head_dim) - products[at]);
    }
    p[i * (x.tile + 1) + j] = weight;
    ds[i * (x.tile + 1) + j] = x.scale * weight * gradient;
  }
}

__global__ void query_gradient(Extents x, const float* q, const float* k, const float* v, const float* d_out,
                               const float* log_sums, const float* products, const std::int32_t* kv_of_head,
                               const SequenceTile* tiles, float* d_q) {
  float* queries = shared_memory;
  float* d_rows = queries + x.matrix();
  float* keys = d_rows + x.matrix();
  float* values = keys + x.matrix();
  float* sum = values + x.matrix();
  float* p = sum + x.matrix();
  float* ds = p + x.scores();
  const SequenceTile tile = tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), kv_head = kv_of_head[head];
  load_rows(x, q, x.heads, head, tile.first, tile.end, queries);
  load_rows(x, d_out, x.heads, head, tile.first, tile.end, d_rows);
  clear(sum, x.matrix());
  for (int key = first_seen(x, tile); key < tile.first + x.tile; key += x.tile) {
    __syncthreads();
    load_rows(x, k, x.kv_heads, kv_head, key, tile.end, keys);
    load_rows(x, v, x.kv_heads, kv_head, key, tile.end, values);
    __syncthreads();
    form_scores(x, queries, keys, values, d_rows, log_sums, products, head, tile.first, key, tile.end, p, ds);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < x.tile * x.head_dim; e += blockDim.x) {
      const int i = e / x.head_dim, c = e % x.head_dim;
      float added = 0;
      for (int j = 0; j < x.tile; ++j) added += ds[i * (x.tile + 1) + j] * keys[j * x.stride() + c];
      sum[i * x.stride() + c] += added;
    }
  }
  __syncthreads();
  store_rows(x, sum, x.heads, head, tile.first, tile.end, d_q);
}

__global__ void key_gradient(Extents x, const float* q, const float* k, const float* v, const float* d_out,
                             const float* log_sums, const float* products, const std::int32_t* group_heads,
                             const std::int32_t* group_firsts, const SequenceTile* tiles, float* d_k,
                             float* d_v) {
  float* keys = shared_memory;
  float* values = keys + x.matrix();
  float* queries = values + x.matrix();
  float* d_rows = queries + x.matrix();
  float* key_sum = d_rows + x.matrix();
  float* value_sum = key_sum + x.matrix();
  float* p = value_sum + x.matrix();
  float* ds = p + x.scores();
  const SequenceTile tile = tiles[blockIdx.x];
  const int kv_head = static_cast<int>(blockIdx.y);
  load_rows(x, k, x.kv_heads, kv_head, tile.first, tile.end, keys);
  load_rows(x, v, x.kv_heads, kv_head, tile.first, tile.end, values);
  clear(key_sum, x.matrix());
  clear(value_sum, x.matrix());
  for (int at = group_firsts[kv_head]; at < group_firsts[kv_head + 1]; ++at) {
    const int head = group_heads[at];
    const auto seeing_last = static_cast<int>(
        min(static_cast<long long>(tile.end), static_cast<long long>(tile.first) + x.tile - 1 + x.window));
    for (int first = tile.first; first < seeing_last; first += x.tile) {
      __syncthreads();
      load_rows(x, q, x.heads, head, first, tile.end, queries);
      load_rows(x, d_out, x.heads, head, first, tile.end, d_rows);
      __syncthreads();
      form_scores(x, queries, keys, values, d_rows, log_sums, products, head, first, tile.first, tile.end, p,
                  ds);
      __syncthreads();
      for (int e = static_cast<int>(threadIdx.x); e < x.tile * x.head_dim; e += blockDim.x) {
        const int j = e / x.head_dim, c = e % x.head_dim;
        float key_added = 0, value_added = 0;
        for (int i = 0; i < x.tile; ++i) {
          key_added += ds[i * (x.tile + 1) + j] * queries[i * x.stride() + c];
          value_added += p[i * (x.tile + 1) + j] * d_rows[i * x.stride() + c];
        }
        key_sum[j * x.stride() + c] += key_added;
        value_sum[j * x.stride() + c] += value_added;
      }
    }
  }
  __syncthreads();
  store_rows(x, key_sum, x.kv_heads, kv_head, tile.first, tile.end, d_k);
  store_rows(x, value_sum, x.kv_heads, kv_head, tile.first, tile.end, d_v);
}

/// The largest tile of which so many matrices and score matrices fit into shared memory.
Extents extents_of(const Resources& gpu, const AttentionInput& input, int matrices, int score_matrices,
                   std::size_t& bytes) {
  Extents x{32,
            static_cast<int>(input.head_dim),
            static_cast<int>(input.heads()),
            static_cast<int>(input.kv_heads()),
            input.scale(),
            input.rule.cap,
            input.rule.window == 0 ? INT_MAX : static_cast<int>(input.rule.window)};
  for (; x.tile > 0; x.tile /= 2) {
    bytes = static_cast<std::size_t>(matrices * x.matrix() + score_matrices * x.scores() + 3 * x.tile) *
            sizeof(float);
    if (bytes <= gpu.shared_limit()) return x;
  }
  throw ResourceError("heads of " + std::to_string(input.head_dim) + " columns do not fit into a GPU's cores",
                      "attention", "use --backend cpu");
}

}  // namespace

void general_attention(Resources& gpu, const AttentionInput& input, const Tensor& out,
                       const Tensor& log_sums) {
  std::size_t bytes = 0;
  const Extents x = extents_of(gpu, input, 4, 1, bytes);
  const std::vector<SequenceTile> tiles = tiles_of(input.offsets, x.tile, true);
  const Array<SequenceTile> on_gpu = gpu.upload(std::span<const SequenceTile>(tiles));
  const Array<std::int32_t> kv_of_head = gpu.upload(input.kv_of_head);
  launch(gpu, attend, dim3(static_cast<unsigned>(tiles.size()), static_cast<unsigned>(x.heads)),
         block_threads, bytes, x, input.q.floats(), input.k.floats(), input.v.floats(), kv_of_head.data(),
         on_gpu.data(), out.floats(), log_sums.floats());
}

void general_attention_backward(Resources& gpu, const AttentionInput& input, const AttentionGradients& to) {
  std::size_t bytes = 0;
  const Extents x = extents_of(gpu, input, 6, 2, bytes);
  const auto width = static_cast<std::int64_t>(x.tile);
  const std::vector<SequenceTile> back = tiles_of(input.offsets, width, true),
                                  ahead = tiles_of(input.offsets, width, false);
  const HeadGroups groups(input.kv_of_head, input.kv_heads());
  const Array<SequenceTile> query_tiles = gpu.upload(std::span<const SequenceTile>(back));
  const Array<SequenceTile> key_tiles = gpu.upload(std::span<const SequenceTile>(ahead));
  const Array<std::int32_t> kv_of_head = gpu.upload(input.kv_of_head);
  const Array<std::int32_t> heads = gpu.upload(std::span<const std::int32_t>(groups.heads));
  const Array<std::int32_t> firsts = gpu.upload(std::span<const std::int32_t>(groups.firsts));
  launch(gpu, query_gradient, dim3(static_cast<unsigned>(back.size()), static_cast<unsigned>(x.heads)),
         block_threads, bytes, x, input.q.floats(), input.k.floats(), input.v.floats(), to.d_out.floats(),
         to.log_sums.floats(), to.products, kv_of_head.data(), query_tiles.data(), to.d_q.floats());
  launch(gpu, key_gradient, dim3(static_cast<unsigned>(ahead.size()), static_cast<unsigned>(x.kv_heads)),
         block_threads, bytes, x, input.q.floats(), input.k.floats(), input.v.floats(), to.d_out.floats(),
         to.log_sums.floats(), to.products, heads.data(), firsts.data(), key_tiles.data(), to.d_k.floats(),
         to.d_v.floats());
}

}  // namespace galapagos::ops::cuda
