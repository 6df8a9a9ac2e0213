#include "../backends.hpp"
#include "blas.hpp"
#include "online_softmax.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

constexpr std::int64_t gemm_rows = 8;      // fewer rows of queries are worth no packing of the keys
constexpr std::int64_t cached_keys = 512;  // that a thread takes at a time for one token's queries

/// Some rows of one sequence with all query heads of one KV head, over a span of its keys: these are read
/// once for all heads. A sequence of one row is cut into spans, so that a long text keeps all threads busy.
struct CacheTask {
  std::size_t sequence = 0;
  std::int64_t kv_head = 0;
  std::int64_t first = 0, rows = 0;  // of the sequence's rows
  std::int64_t key = 0, end = 0;     // of its keys
  bool part = false;                 // whether there are other spans
  std::size_t state = 0;             // where its sums lie then
};

/// The sums of a task: of each row of queries (a row's heads one after the other).
struct Sums {
  float *largest, *sum, *gathered;
};

std::size_t state_size(std::int64_t rows, std::int64_t head_dim) {
  return static_cast<std::size_t>(rows * (head_dim + 2));
}

Sums sums_at(float* state, std::int64_t rows) {
  return {state, state + rows, state + 2 * rows};
}

class CachedAttention {
 public:
  CachedAttention(const Tensor& q, const HeadCache& cache, std::span<const std::int32_t> kv_of_head,
                  const CachedRows& rows, const Tensor& out, const AttentionRule& rule)
      : q_(q), cache_(cache), rows_(rows), out_(out), rule_(rule), head_dim_(cache.head_dim()) {
    heads_.resize(static_cast<std::size_t>(cache.kv_heads));
    for (std::size_t head = 0; head < kv_of_head.size(); ++head)
      heads_[static_cast<std::size_t>(kv_of_head[head])].push_back(static_cast<std::int64_t>(head));
    for (std::size_t s = 0; s + 1 < rows.offsets.size(); ++s)
      for (std::int64_t kv = 0; kv < cache.kv_heads; ++kv) add_tasks(s, kv);
  }

  void run() {
    std::vector<float> states(states_);
    const auto tasks = static_cast<std::int64_t>(tasks_.size());
#pragma omp parallel
    {
      Workspace work;
#pragma omp for schedule(dynamic)
      for (std::int64_t i = 0; i < tasks; ++i)
        run_task(tasks_[static_cast<std::size_t>(i)], states.data(), work);
    }
    const auto groups = static_cast<std::int64_t>(groups_.size());
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < groups; ++i) combine(groups_[static_cast<std::size_t>(i)], states.data());
  }

 private:
  struct Workspace {
    std::vector<float> queries, scores, state;
  };
  /// Tasks [first, end) are spans of one row.
  struct Group {
    std::size_t first, end;
  };

  const std::vector<std::int64_t>& heads_of(std::int64_t kv) const {
    return heads_[static_cast<std::size_t>(kv)];
  }

  void add_tasks(std::size_t s, std::int64_t kv) {
    const std::int64_t count = rows_.offsets[s + 1] - rows_.offsets[s], start = rows_.starts[s];
    const auto heads = std::ssize(heads_of(kv));
    if (heads == 0 || count == 0) return;
    const auto first_seen = [&](std::int64_t row) {
      return rule_.window == 0 ? 0 : std::max<std::int64_t>(0, start + row + 1 - rule_.window);
    };
    if (count > 1) {
      const std::int64_t tall = std::max<std::int64_t>(1, attention_queries / heads);
      for (std::int64_t first = 0; first < count; first += tall) {
        const std::int64_t some = std::min(tall, count - first);
        tasks_.push_back({s, kv, first, some, first_seen(first), start + first + some});
      }
      return;
    }
    const std::int64_t end = start + 1;
    const bool part = end - first_seen(0) > cached_keys;
    const std::size_t before = tasks_.size();
    for (std::int64_t key = first_seen(0); key < end; key += cached_keys) {
      tasks_.push_back({s, kv, 0, 1, key, std::min(key + cached_keys, end), part, states_});
      if (part) states_ += state_size(heads, head_dim_);
    }
    if (part) groups_.push_back({before, tasks_.size()});
  }

  const float* cached(const Tensor& tensor, const CacheTask& task, std::int64_t key) const {
    const std::int64_t row = rows_.places[task.sequence] * cache_.kv_heads + task.kv_head;
    return tensor.floats() + (row * cache_.capacity() + key) * head_dim_;
  }

  void run_task(const CacheTask& task, float* states, Workspace& work) const {
    const std::vector<std::int64_t>& heads = heads_of(task.kv_head);
    const std::int64_t rows = task.rows * std::ssize(heads);
    work.state.resize(std::max(work.state.size(), state_size(rows, head_dim_)));
    work.scores.resize(std::max(work.scores.size(), static_cast<std::size_t>(rows * attention_keys)));
    const Sums sums = sums_at(task.part ? states + task.state : work.state.data(), rows);
    std::fill(sums.largest, sums.largest + rows, -std::numeric_limits<float>::infinity());
    std::fill(sums.sum, sums.sum + rows, 0.0f);
    std::fill(sums.gathered, sums.gathered + rows * head_dim_, 0.0f);
    gather_queries(task, work.queries);
    for (std::int64_t key = task.key; key < task.end; key += attention_keys) {
      const std::int64_t keys = std::min(attention_keys, task.end - key);
      float* scores = work.scores.data();
      multiply_keys(work.queries.data(), rows, cached(cache_.keys, task, key), keys, scores);
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t position = rows_.starts[task.sequence] + task.first + row / std::ssize(heads);
        const std::int64_t seen = std::clamp<std::int64_t>(position + 1 - key, 0, keys);
        const std::int64_t before =
            rule_.window == 0 ? 0 : std::clamp<std::int64_t>(position + 1 - rule_.window - key, 0, keys);
        weigh_scores(scores + row * attention_keys, before, seen, keys, rule_.cap,
                     {sums.largest[row], sums.sum[row], sums.gathered + row * head_dim_, head_dim_});
      }
      add_values(scores, rows, cached(cache_.values, task, key), keys, sums.gathered);
    }
    if (!task.part) put_out(task, sums);
  }

  /// A row's heads one after the other, times the scale of the scores.
  void gather_queries(const CacheTask& task, std::vector<float>& queries) const {
    const std::vector<std::int64_t>& heads = heads_of(task.kv_head);
    const float scale = rule_.scale_of(head_dim_);
    queries.resize(static_cast<std::size_t>(task.rows * std::ssize(heads) * head_dim_));
    float* to = queries.data();
    for (std::int64_t row = 0; row < task.rows; ++row) {
      for (const std::int64_t head : heads) {
        const float* from =
            q_.floats() + (rows_.offsets[task.sequence] + task.first + row) * q_.columns() + head * head_dim_;
        for (std::int64_t i = 0; i < head_dim_; ++i) *to++ = scale * from[i];
      }
    }
  }

  void multiply_keys(const float* queries, std::int64_t rows, const float* keys, std::int64_t count,
                     float* scores) const {
    if (rows >= gemm_rows)
      return gemm(false, true, rows, count, head_dim_, 1.0f, queries, head_dim_, keys, head_dim_, 0.0f,
                  scores, attention_keys);
    for (std::int64_t j = 0; j < count; ++j) {
      const float* key = keys + j * head_dim_;
      for (std::int64_t row = 0; row < rows; ++row) {
        const float* query = queries + row * head_dim_;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t i = 0; i < head_dim_; ++i) sum += query[i] * key[i];
        scores[row * attention_keys + j] = sum;
      }
    }
  }

  void add_values(const float* weights, std::int64_t rows, const float* values, std::int64_t count,
                  float* gathered) const {
    if (rows >= gemm_rows)
      return gemm(false, false, rows, head_dim_, count, 1.0f, weights, attention_keys, values, head_dim_,
                  1.0f, gathered, head_dim_);
    for (std::int64_t j = 0; j < count; ++j) {
      const float* value = values + j * head_dim_;
      for (std::int64_t row = 0; row < rows; ++row) {
        const float weight = weights[row * attention_keys + j];
        float* to = gathered + row * head_dim_;
#pragma omp simd
        for (std::int64_t i = 0; i < head_dim_; ++i) to[i] += weight * value[i];
      }
    }
  }

  void put_out(const CacheTask& task, const Sums& sums) const {
    const std::vector<std::int64_t>& heads = heads_of(task.kv_head);
    for (std::int64_t row = 0; row < task.rows * std::ssize(heads); ++row) {
      const std::int64_t head = heads[static_cast<std::size_t>(row % std::ssize(heads))];
      float* to = out_.floats() +
                  (rows_.offsets[task.sequence] + task.first + row / std::ssize(heads)) * out_.columns() +
                  head * head_dim_;
      const float factor = 1.0f / sums.sum[row];
      for (std::int64_t i = 0; i < head_dim_; ++i) to[i] = factor * sums.gathered[row * head_dim_ + i];
    }
  }

  /// Brings the spans of a row together, in their order, in the first one's sums.
  void combine(const Group& group, float* states) const {
    const CacheTask& first = tasks_[group.first];
    const auto rows = std::ssize(heads_of(first.kv_head));
    const Sums all = sums_at(states + first.state, rows);
    for (std::size_t i = group.first + 1; i < group.end; ++i) {
      const Sums more = sums_at(states + tasks_[i].state, rows);
      for (std::int64_t row = 0; row < rows; ++row) {
        const float largest = std::max(all.largest[row], more.largest[row]);
        const float here = std::exp(all.largest[row] - largest),
                    there = std::exp(more.largest[row] - largest);
        float* to = all.gathered + row * head_dim_;
        const float* from = more.gathered + row * head_dim_;
        for (std::int64_t j = 0; j < head_dim_; ++j) to[j] = here * to[j] + there * from[j];
        all.sum[row] = here * all.sum[row] + there * more.sum[row];
        all.largest[row] = largest;
      }
    }
    put_out(first, all);
  }

  const Tensor& q_;
  const HeadCache& cache_;
  const CachedRows& rows_;
  const Tensor& out_;
  const AttentionRule& rule_;
  std::int64_t head_dim_;
  std::vector<std::vector<std::int64_t>> heads_;  // of each KV head
  std::vector<CacheTask> tasks_;
  std::vector<Group> groups_;
  std::size_t states_ = 0;  // floats of all
};

}  // namespace

void store_heads(const Context&, const Tensor& k, const Tensor& v, const CachedRows& rows,
                 const HeadCache& cache) {
  const std::int64_t head_dim = cache.head_dim(), width = cache.kv_heads * head_dim;
  const auto bytes = static_cast<std::size_t>(head_dim) * sizeof(float);
  for (std::size_t s = 0; s + 1 < rows.offsets.size(); ++s) {
    const std::int64_t first = rows.offsets[s], count = rows.offsets[s + 1] - first;
#pragma omp parallel for schedule(static) if (count > 1)
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t head = 0; head < cache.kv_heads; ++head) {
        const std::int64_t from = (first + i) * width + head * head_dim;
        const std::int64_t to =
            ((rows.places[s] * cache.kv_heads + head) * cache.capacity() + rows.starts[s] + i) * head_dim;
        std::memcpy(cache.keys.floats() + to, k.floats() + from, bytes);
        std::memcpy(cache.values.floats() + to, v.floats() + from, bytes);
      }
    }
  }
}

void cached_attention(const Context&, const Tensor& q, const HeadCache& cache,
                      std::span<const std::int32_t> kv_of_head, const CachedRows& rows, const Tensor& out,
                      const AttentionRule& rule) {
  CachedAttention(q, cache, kv_of_head, rows, out, rule).run();
}

}  // namespace galapagos::ops::cpu
