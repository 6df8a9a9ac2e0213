#include "../backends.hpp"
#include "attention_kernels.hpp"
#include "launch.cuh"
#include "reduce.cuh"
#include "stored.cuh"

#include <algorithm>
#include <string>
#include <vector>

#include <galapagos/core/error.hpp>

namespace galapagos::ops::cuda {
namespace {

constexpr int warps = 4;
constexpr std::int64_t keys_of_task = 256;  // of one token's queries

/// Some query heads of one row, all with the same KV head, over a span of keys. These are read once for all
/// of the heads. The only row of a sequence is cut into spans, so that a long text keeps the whole GPU busy.
struct CacheTask {
  std::int32_t row, place, kv_head;
  std::int32_t first_head, heads;  // in the list of heads by KV heads
  std::int32_t key, end;
};

/// A head of a row, and the tasks, one after the other, that have its sums as their head `at`.
struct CacheOutput {
  std::int32_t row, head, first_task, tasks, at;
};

struct CacheExtents {
  int head_dim;
  std::int64_t q_width, capacity, kv_heads;
  float scale, cap;
};

/// A warp takes every fourth key; a lane has every 32nd element of all heads. Of each head of a task the
/// state is its weighted values, its greatest score and its sum of exp(score - greatest).
template <typename T, int elements, int most_heads>
__global__ void __launch_bounds__(32 * warps)
    scan_cache(CacheExtents x, const CacheTask* tasks, const std::int32_t* heads, const T* q, const T* keys,
               const T* values, float* states) {
  __shared__ float sums[warps][most_heads][32 * elements];
  __shared__ float greatest[warps][most_heads], totals[warps][most_heads];
  const CacheTask task = tasks[blockIdx.x];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  float query[most_heads][elements], sum[most_heads][elements], largest[most_heads], total[most_heads];
#pragma unroll
  for (int h = 0; h < most_heads; ++h) {
    largest[h] = -INFINITY;
    total[h] = 0;
    const T* from = q + task.row * x.q_width +
                    static_cast<std::int64_t>(heads[task.first_head + min(h, task.heads - 1)]) * x.head_dim;
#pragma unroll
    for (int e = 0; e < elements; ++e) {
      const int i = lane + 32 * e;
      query[h][e] = i < x.head_dim ? x.scale * widen(from[i]) : 0;
      sum[h][e] = 0;
    }
  }
  const std::int64_t text = (task.place * x.kv_heads + task.kv_head) * x.capacity;
  for (int key = task.key + warp; key < task.end; key += warps) {
    const std::int64_t at = (text + key) * x.head_dim;
    float k[elements], v[elements];
#pragma unroll
    for (int e = 0; e < elements; ++e) {
      const int i = lane + 32 * e;
      k[e] = i < x.head_dim ? widen(keys[at + i]) : 0;
      v[e] = i < x.head_dim ? widen(values[at + i]) : 0;
    }
#pragma unroll
    for (int h = 0; h < most_heads; ++h) {
      float score = 0;
#pragma unroll
      for (int e = 0; e < elements; ++e) score += query[h][e] * k[e];
      score = warp_reduce(score, Sum{});
      if (x.cap != 0) score = x.cap * tanhf(score / x.cap);
      const float most = fmaxf(largest[h], score);
      const float shrink = expf(largest[h] - most), weight = expf(score - most);
      largest[h] = most;
      total[h] = total[h] * shrink + weight;
#pragma unroll
      for (int e = 0; e < elements; ++e) sum[h][e] = sum[h][e] * shrink + weight * v[e];
    }
  }
#pragma unroll
  for (int h = 0; h < most_heads; ++h) {
    greatest[warp][h] = largest[h];
    totals[warp][h] = total[h];
#pragma unroll
    for (int e = 0; e < elements; ++e) sums[warp][h][lane + 32 * e] = sum[h][e];
  }
  __syncthreads();
  const int width = x.head_dim + 2;
  for (int at = static_cast<int>(threadIdx.x); at < task.heads * width; at += 32 * warps) {
    const int h = at / width, i = at % width;
    float most = -INFINITY, result = 0;
    for (int w = 0; w < warps; ++w) most = fmaxf(most, greatest[w][h]);
    for (int w = 0; w < warps; ++w) {
      const float scale = expf(greatest[w][h] - most);  // 0 where the warp has had no key
      if (i < x.head_dim) result += scale * sums[w][h][i];
      if (i == x.head_dim + 1) result += scale * totals[w][h];
    }
    if (i == x.head_dim) result = most;
    states[(static_cast<std::int64_t>(blockIdx.x) * most_heads + h) * width + i] = result;
  }
}

template <typename T>
__global__ void bring_together(CacheExtents x, const CacheOutput* outputs, const float* states,
                               int most_heads, T* out) {
  const CacheOutput output = outputs[blockIdx.x];
  const int width = x.head_dim + 2;
  const auto state = [&](int task) {
    return states + (static_cast<std::int64_t>(output.first_task + task) * most_heads + output.at) * width;
  };
  float most = -INFINITY, total = 0;
  for (int task = 0; task < output.tasks; ++task) most = fmaxf(most, state(task)[x.head_dim]);
  for (int task = 0; task < output.tasks; ++task)
    total += expf(state(task)[x.head_dim] - most) * state(task)[x.head_dim + 1];
  for (int i = static_cast<int>(threadIdx.x); i < x.head_dim; i += blockDim.x) {
    float sum = 0;
    for (int task = 0; task < output.tasks; ++task)
      sum += expf(state(task)[x.head_dim] - most) * state(task)[i];
    out[output.row * x.q_width + static_cast<std::int64_t>(output.head) * x.head_dim + i] =
        narrow<T>(sum / total);
  }
}

/// Where a row of keys and values goes.
struct CachePlace {
  std::int32_t place, position;
};

template <typename T>
__global__ void put_heads(const CachePlace* places, const T* k, const T* v, std::int64_t kv_heads,
                          std::int64_t head_dim, std::int64_t capacity, T* keys, T* values) {
  const CachePlace to = places[blockIdx.x];
  const std::int64_t width = kv_heads * head_dim;
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x) {
    const std::int64_t head = i / head_dim;
    const std::int64_t at =
        ((to.place * kv_heads + head) * capacity + to.position) * head_dim + i - head * head_dim;
    keys[at] = k[blockIdx.x * width + i];
    values[at] = v[blockIdx.x * width + i];
  }
}

struct CacheWork {
  std::vector<CacheTask> tasks;
  std::vector<CacheOutput> outputs;

  CacheWork(const HeadGroups& groups, std::int64_t kv_heads, const CachedRows& rows, std::int64_t window,
            std::int32_t most_heads) {
    for (std::size_t s = 0; s + 1 < rows.offsets.size(); ++s) {
      const std::int64_t count = rows.offsets[s + 1] - rows.offsets[s];
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t end = rows.starts[s] + i + 1;
        const std::int64_t first = window == 0 ? 0 : std::max<std::int64_t>(0, end - window);
        const CacheTask row = {static_cast<std::int32_t>(rows.offsets[s] + i),
                               static_cast<std::int32_t>(rows.places[s]),
                               0,
                               0,
                               0,
                               static_cast<std::int32_t>(first),
                               static_cast<std::int32_t>(end)};
        for (std::int64_t kv = 0; kv < kv_heads; ++kv)
          add(groups, static_cast<std::int32_t>(kv), row, count > 1 ? end - first : keys_of_task, most_heads);
      }
    }
  }

 private:
  void add(const HeadGroups& groups, std::int32_t kv, CacheTask task, std::int64_t span,
           std::int32_t most_heads) {
    task.kv_head = kv;
    const std::int32_t key = task.key, end = task.end, last = groups.firsts[static_cast<std::size_t>(kv) + 1];
    for (std::int32_t head = groups.firsts[static_cast<std::size_t>(kv)]; head < last; head += most_heads) {
      task.first_head = head;
      task.heads = std::min(most_heads, last - head);
      const auto first = static_cast<std::int32_t>(tasks.size());
      for (std::int64_t from = key; from < end; from += span) {
        task.key = static_cast<std::int32_t>(from);
        task.end = static_cast<std::int32_t>(std::min<std::int64_t>(from + span, end));
        tasks.push_back(task);
      }
      const auto count = static_cast<std::int32_t>(tasks.size()) - first;
      for (std::int32_t at = 0; at < task.heads; ++at)
        outputs.push_back({task.row, groups.heads[static_cast<std::size_t>(head + at)], first, count, at});
    }
  }
};

template <int elements, int most_heads>
void attend(Resources& gpu, const CacheExtents& x, const Tensor& q, const HeadCache& cache,
            const HeadGroups& groups, const CachedRows& rows, std::int64_t window, const Tensor& out) {
  const CacheWork work(groups, cache.kv_heads, rows, window, most_heads);
  const Array<CacheTask> tasks = gpu.upload(std::span<const CacheTask>(work.tasks));
  const Array<CacheOutput> outputs = gpu.upload(std::span<const CacheOutput>(work.outputs));
  const Array<std::int32_t> heads = gpu.upload(std::span<const std::int32_t>(groups.heads));
  const Array<float> states(tasks.size() * most_heads * (x.head_dim + 2), "attention over a cache");
  with_stored(q.dtype, [&]<typename T>(const T*) {
    launch(gpu, scan_cache<T, elements, most_heads>, dim3(static_cast<unsigned>(tasks.size())), 32 * warps, 0,
           x, tasks.data(), heads.data(), data_as<T>(q), data_as<T>(cache.keys), data_as<T>(cache.values),
           states.data());
    launch(gpu, bring_together<T>, dim3(static_cast<unsigned>(outputs.size())), 32 * warps, 0, x,
           outputs.data(), states.data(), most_heads, data_as<T>(out));
  });
}

}  // namespace

void store_heads(const Context& context, const Tensor& k, const Tensor& v, const CachedRows& rows,
                 const HeadCache& cache) {
  if (k.empty()) return;
  std::vector<CachePlace> places;
  for (std::size_t s = 0; s + 1 < rows.offsets.size(); ++s) {
    for (std::int64_t i = 0; i < rows.offsets[s + 1] - rows.offsets[s]; ++i)
      places.push_back(
          {static_cast<std::int32_t>(rows.places[s]), static_cast<std::int32_t>(rows.starts[s] + i)});
  }
  Resources& gpu = context.cuda();
  const Array<CachePlace> on_gpu = gpu.upload(std::span<const CachePlace>(places));
  with_stored(k.dtype, [&]<typename T>(const T*) {
    launch(gpu, put_heads<T>, dim3(static_cast<unsigned>(places.size())), block_threads, 0, on_gpu.data(),
           data_as<T>(k), data_as<T>(v), cache.kv_heads, cache.head_dim(), cache.capacity(),
           data_as<T>(cache.keys), data_as<T>(cache.values));
  });
}

void cached_attention(const Context& context, const Tensor& q, const HeadCache& cache,
                      std::span<const std::int32_t> kv_of_head, const CachedRows& rows, const Tensor& out,
                      const AttentionRule& rule) {
  if (q.empty()) return;
  const std::int64_t head_dim = cache.head_dim();
  const CacheExtents x{static_cast<int>(head_dim), q.columns(), cache.capacity(), cache.kv_heads,
                       rule.scale_of(head_dim),    rule.cap};
  const HeadGroups groups(kv_of_head, cache.kv_heads);
  Resources& gpu = context.cuda();
  // As many elements and heads as a thread has registers for.
  if (head_dim <= 64) return attend<2, 4>(gpu, x, q, cache, groups, rows, rule.window, out);
  if (head_dim <= 128) return attend<4, 4>(gpu, x, q, cache, groups, rows, rule.window, out);
  if (head_dim <= 256) return attend<8, 2>(gpu, x, q, cache, groups, rows, rule.window, out);
  if (head_dim <= 512) return attend<16, 1>(gpu, x, q, cache, groups, rows, rule.window, out);
  throw ResourceError("heads of " + std::to_string(head_dim) + " columns do not fit into a GPU's registers",
                      "attention over a cache", "use --backend cpu");
}

}  // namespace galapagos::ops::cuda
