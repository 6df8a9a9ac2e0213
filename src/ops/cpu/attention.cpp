#include "../backends.hpp"
#include "blas.hpp"
#include "online_softmax.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

// One query head's rows [first, first + rows) of one sequence of `end - begin` tokens: online softmax over
// blocks of keys (Milakov and Gimelshein 2018; Dao et al. 2022), so that only a block of scores is ever
// there. Keys that lie before the windows of all rows are left out.
struct QueryTile {
  std::int64_t begin = 0;  // first row of the sequence
  std::int64_t first = 0;
  std::int64_t rows = 0;
  std::int64_t head = 0;
};

struct Workspace {
  std::vector<float> scores = std::vector<float>(attention_queries * attention_keys);
  std::vector<float> sum = std::vector<float>(attention_queries);
  std::vector<float> largest = std::vector<float>(attention_queries);
  std::vector<float> gathered;  // [attention_queries, head_dim], the sum of weighted values
};

void attend(const QueryTile& tile, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t head_dim,
            std::int64_t kv_head, const AttentionRule& rule, const Tensor& out, const Tensor& log_sums,
            Workspace& work) {
  const std::int64_t q_width = q.columns(), kv_width = k.columns();
  const float scale = rule.scale_of(head_dim);
  const float* queries = q.floats() + tile.first * q_width + tile.head * head_dim;
  work.gathered.assign(static_cast<std::size_t>(attention_queries * head_dim), 0.0f);
  std::fill(work.sum.begin(), work.sum.end(), 0.0f);
  std::fill(work.largest.begin(), work.largest.end(), -std::numeric_limits<float>::infinity());

  const std::int64_t last = tile.first + tile.rows;
  const std::int64_t seen_first =
      rule.window == 0 ? tile.begin : std::max(tile.begin, tile.first + 1 - rule.window);
  for (std::int64_t key = seen_first; key < last; key += attention_keys) {
    const std::int64_t keys = std::min(attention_keys, last - key);
    float* scores = work.scores.data();
    gemm(false, true, tile.rows, keys, head_dim, scale, queries, q_width,
         k.floats() + key * kv_width + kv_head * head_dim, kv_width, 0.0f, scores, attention_keys);
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      float* row = scores + i * attention_keys;
      const std::int64_t seen = std::clamp<std::int64_t>(tile.first + i + 1 - key, 0, keys);
      const std::int64_t before =
          rule.window == 0 ? 0 : std::clamp<std::int64_t>(tile.first + i + 1 - rule.window - key, 0, keys);
      const auto at = static_cast<std::size_t>(i);
      weigh_scores(row, before, seen, keys, rule.cap,
                   {work.largest[at], work.sum[at], work.gathered.data() + i * head_dim, head_dim});
    }
    gemm(false, false, tile.rows, head_dim, keys, 1.0f, scores, attention_keys,
         v.floats() + key * kv_width + kv_head * head_dim, kv_width, 1.0f, work.gathered.data(), head_dim);
  }
  for (std::int64_t i = 0; i < tile.rows; ++i) {
    float* result = out.floats() + (tile.first + i) * q_width + tile.head * head_dim;
    const float factor = 1.0f / work.sum[static_cast<std::size_t>(i)];
    for (std::int64_t j = 0; j < head_dim; ++j)
      result[j] = work.gathered[static_cast<std::size_t>(i * head_dim + j)] * factor;
    if (log_sums.data != nullptr) {
      log_sums.floats()[(tile.first + i) * (q_width / head_dim) + tile.head] =
          work.largest[static_cast<std::size_t>(i)] + std::log(work.sum[static_cast<std::size_t>(i)]);
    }
  }
}

}  // namespace

void attention(const Context&, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t head_dim,
               std::span<const std::int32_t> kv_of_head, std::span<const std::int64_t> offsets,
               const Tensor& out, const Tensor& log_sums, const AttentionRule& rule) {
  std::vector<QueryTile> tiles;
  for (std::size_t sequence = 0; sequence + 1 < offsets.size(); ++sequence) {
    const std::int64_t begin = offsets[sequence], end = offsets[sequence + 1];
    for (std::size_t head = 0; head < kv_of_head.size(); ++head) {
      for (std::int64_t first = begin; first < end; first += attention_queries) {
        tiles.push_back(
            {begin, first, std::min(attention_queries, end - first), static_cast<std::int64_t>(head)});
      }
    }
  }
#pragma omp parallel
  {
    Workspace work;
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < tiles.size(); ++i) {
      attend(tiles[i], q, k, v, head_dim, kv_of_head[static_cast<std::size_t>(tiles[i].head)], rule, out,
             log_sums, work);
    }
  }
}

}  // namespace galapagos::ops::cpu
