#include "../backends.hpp"
#include "blas.hpp"
#include "tuning.hpp"
#include "vector_math.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

struct Operands {
  const Tensor &q, &k, &v, &out, &log_sums, &d_out;
  std::int64_t head_dim;
  const AttentionRule& rule;
  std::vector<float> products;  // [t, heads]: d_out . out, which is sum_j P_ij dP_ij

  std::int64_t heads() const { return q.columns() / head_dim; }
  float scale() const { return rule.scale_of(head_dim); }
  const float* query(std::int64_t row, std::int64_t head) const { return of(q, row, head); }
  const float* key(std::int64_t row, std::int64_t head) const { return of(k, row, head); }
  const float* value(std::int64_t row, std::int64_t head) const { return of(v, row, head); }
  const float* d_row(std::int64_t row, std::int64_t head) const { return of(d_out, row, head); }

 private:
  const float* of(const Tensor& x, std::int64_t row, std::int64_t head) const {
    return x.floats() + row * x.columns() + head * head_dim;
  }
};

/// Rows [first, first + rows) of queries and [key, key + keys) of keys, of one sequence and one query head.
struct Block {
  std::int64_t first, rows, key, keys, head, kv_head;
};

/// P and dS = scale * P * (d_out V^T - products) of a block, zero where a query does not see the key.
struct ScoreBlock {
  std::vector<float> p = std::vector<float>(attention_queries * attention_keys);
  std::vector<float> ds = std::vector<float>(attention_queries * attention_keys);

  void form(const Operands& x, const Block& block) {
    const std::int64_t q_width = x.q.columns(), kv_width = x.k.columns();
    gemm(false, true, block.rows, block.keys, x.head_dim, x.scale(), x.query(block.first, block.head),
         q_width, x.key(block.key, block.kv_head), kv_width, 0.0f, p.data(), attention_keys);
    gemm(false, true, block.rows, block.keys, x.head_dim, 1.0f, x.d_row(block.first, block.head), q_width,
         x.value(block.key, block.kv_head), kv_width, 0.0f, ds.data(), attention_keys);
    for (std::int64_t i = 0; i < block.rows; ++i) {
      float *p_row = p.data() + i * attention_keys, *ds_row = ds.data() + i * attention_keys;
      const std::int64_t at = (block.first + i) * x.heads() + block.head;
      const float log_sum = x.log_sums.floats()[at], product = x.products[static_cast<std::size_t>(at)];
      const std::int64_t seen = std::clamp<std::int64_t>(block.first + i + 1 - block.key, 0, block.keys);
      if (x.rule.cap != 0) {  // the derivative of the cap, together with d_out V^T - product
        for (std::int64_t j = 0; j < seen; ++j) {
          const float share = std::tanh(p_row[j] / x.rule.cap);
          p_row[j] = x.rule.cap * share;
          ds_row[j] = (ds_row[j] - product) * (1.0f - share * share) + product;
        }
      }
#pragma omp simd
      for (std::int64_t j = 0; j < seen; ++j) {
        p_row[j] = vector_exp(p_row[j] - log_sum);
        ds_row[j] = x.scale() * p_row[j] * (ds_row[j] - product);
      }
      if (x.rule.window != 0) {
        const std::int64_t before =
            std::clamp<std::int64_t>(block.first + i + 1 - x.rule.window - block.key, 0, block.keys);
        std::fill(p_row, p_row + before, 0.0f);
        std::fill(ds_row, ds_row + before, 0.0f);
      }
      std::fill(p_row + seen, p_row + block.keys, 0.0f);
      std::fill(ds_row + seen, ds_row + block.keys, 0.0f);
    }
  }
};

struct Span {
  std::int64_t begin, end;  // of the sequence
  std::int64_t first;       // of the block
  std::int64_t head;        // query head, or KV head
};

std::vector<Span> spans_of(std::span<const std::int64_t> offsets, std::int64_t heads, std::int64_t block) {
  std::vector<Span> spans;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t first = offsets[s]; first < offsets[s + 1]; first += block)
        spans.push_back({offsets[s], offsets[s + 1], first, head});
    }
  }
  return spans;
}

}  // namespace

void attention_backward(const Context&, const Tensor& q, const Tensor& k, const Tensor& v,
                        std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
                        std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums,
                        const Tensor& d_out, const Tensor& d_q, const Tensor& d_k, const Tensor& d_v,
                        const AttentionRule& rule) {
  const auto heads = static_cast<std::int64_t>(kv_of_head.size());
  Operands x{q, k, v, out, log_sums, d_out, head_dim, rule, {}};
  x.products.resize(static_cast<std::size_t>(q.rows() * heads));
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < q.rows() * heads; ++i) {
    const float *a = out.floats() + i * head_dim, *b = d_out.floats() + i * head_dim;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < head_dim; ++j) sum += a[j] * b[j];
    x.products[static_cast<std::size_t>(i)] = sum;
  }
  fill_zero(d_q);
  fill_zero(d_k);
  fill_zero(d_v);
  const std::int64_t q_width = q.columns(), kv_width = k.columns();
  const std::vector<Span> queries = spans_of(offsets, heads, attention_queries);
  const std::vector<Span> keys = spans_of(offsets, kv_width / head_dim, attention_keys);
#pragma omp parallel
  {
    ScoreBlock scores;
#pragma omp for schedule(dynamic) nowait
    for (std::size_t i = 0; i < queries.size(); ++i) {
      const Span& span = queries[i];
      const std::int64_t rows = std::min(attention_queries, span.end - span.first);
      const std::int64_t kv_head = kv_of_head[static_cast<std::size_t>(span.head)];
      const std::int64_t seen_first =
          rule.window == 0 ? span.begin : std::max(span.begin, span.first + 1 - rule.window);
      for (std::int64_t key = seen_first; key < span.first + rows; key += attention_keys) {
        const Block block{span.first, rows,   key, std::min(attention_keys, span.first + rows - key),
                          span.head,  kv_head};
        scores.form(x, block);
        gemm(false, false, rows, head_dim, block.keys, 1.0f, scores.ds.data(), attention_keys,
             x.key(key, kv_head), kv_width, 1.0f, d_q.floats() + span.first * q_width + span.head * head_dim,
             q_width);
      }
    }
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const Span& span = keys[i];
      const std::int64_t count = std::min(attention_keys, span.end - span.first);
      const std::int64_t at = span.first * kv_width + span.head * head_dim;
      const std::int64_t seeing_last =
          rule.window == 0 ? span.end : std::min(span.end, span.first + count - 1 + rule.window);
      for (std::int64_t head = 0; head < heads; ++head) {
        if (kv_of_head[static_cast<std::size_t>(head)] != span.head) continue;
        for (std::int64_t row = span.first; row < seeing_last; row += attention_queries) {
          const Block block{row,      std::min(attention_queries, seeing_last - row), span.first, count, head,
                            span.head};
          scores.form(x, block);
          gemm(true, false, count, head_dim, block.rows, 1.0f, scores.p.data(), attention_keys,
               x.d_row(row, head), q_width, 1.0f, d_v.floats() + at, kv_width);
          gemm(true, false, count, head_dim, block.rows, 1.0f, scores.ds.data(), attention_keys,
               x.query(row, head), q_width, 1.0f, d_k.floats() + at, kv_width);
        }
      }
    }
  }
}

}  // namespace galapagos::ops::cpu
