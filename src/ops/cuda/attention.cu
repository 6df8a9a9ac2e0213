#include "../backends.hpp"
#include "attention_cudnn.hpp"
#include "attention_kernels.hpp"
#include "packs.cuh"
#include "products.hpp"
#include "reduce.cuh"

#include <optional>

namespace galapagos::ops::cuda {
namespace {

/// d_out . out of every head of every row, which is sum_j P_ij dP_ij; a warp each.
template <typename T, int size>
__global__ void multiply_heads(const T* out, const T* d_out, std::int64_t count, std::int64_t head_dim,
                               float* products) {
  const std::int64_t warp = global_thread() / 32;
  if (warp >= count) return;
  float sum = 0;
  for (std::int64_t i = threadIdx.x % 32 * size; i < head_dim; i += 32 * size) {
    float a[size], b[size];
    load_pack(out + warp * head_dim + i, a);
    load_pack(d_out + warp * head_dim + i, b);
#pragma unroll
    for (int j = 0; j < size; ++j) sum += a[j] * b[j];
  }
  sum = warp_reduce(sum, Sum{});
  if (threadIdx.x % 32 == 0) products[warp] = sum;
}

void multiply(Resources& gpu, const Tensor& out, const Tensor& d_out, std::int64_t head_dim,
              const Array<float>& products) {
  constexpr int size = 4;
  const std::int64_t count = products.size();
  const bool packs = head_dim % size == 0 && aligned_for_packs(out.data, d_out.data);
  with_stored(out.dtype, [&]<typename T>(const T*) {
    launch(gpu, packs ? multiply_heads<T, size> : multiply_heads<T, 1>, blocks_for(count, block_threads / 32),
           block_threads, 0, data_as<T>(out), data_as<T>(d_out), count, head_dim, products.data());
  });
}

/// The type that attention is computed in: bf16 where tensor cores or cuDNN know the rule.
DType type_of_attention(const Context& context, std::int64_t head_dim, const AttentionRule& rule) {
  const bool plain = rule.window == 0 && rule.cap == 0;
  return context.products() != DType::f32 && plain && on_tensor_cores(head_dim) ? DType::bf16 : DType::f32;
}

}  // namespace

std::vector<SequenceTile> tiles_of(std::span<const std::int64_t> offsets, std::int64_t rows,
                                   bool looking_back) {
  std::vector<SequenceTile> tiles;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (std::int64_t first = offsets[s]; first < offsets[s + 1]; first += rows)
      tiles.push_back({static_cast<std::int32_t>(offsets[s]), static_cast<std::int32_t>(offsets[s + 1]),
                       static_cast<std::int32_t>(first)});
  }
  const auto work = [&](const SequenceTile& tile) {
    return looking_back ? tile.first - tile.begin : tile.end - tile.first;
  };
  std::stable_sort(tiles.begin(), tiles.end(),
                   [&](const SequenceTile& a, const SequenceTile& b) { return work(a) > work(b); });
  return tiles;
}

HeadGroups::HeadGroups(std::span<const std::int32_t> kv_of_head, std::int64_t kv_heads) {
  for (std::int32_t group = 0; group < kv_heads; ++group) {
    firsts.push_back(static_cast<std::int32_t>(heads.size()));
    for (std::size_t head = 0; head < kv_of_head.size(); ++head) {
      if (kv_of_head[head] == group) heads.push_back(static_cast<std::int32_t>(head));
    }
  }
  firsts.push_back(static_cast<std::int32_t>(heads.size()));
}

bool on_tensor_cores(std::int64_t head_dim) {
  return head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128;
}

void attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
               std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
               std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums,
               const AttentionRule& any_rule) {
  if (q.empty()) return;
  const AttentionRule rule = any_rule.of(offsets);
  const DType type = type_of_attention(context, head_dim, rule);
  const Operand queries(context, q, type), keys(context, k, type), values(context, v, type);
  const Result result(out, type);
  const AttentionInput input{queries.view(), keys.view(), values.view(), head_dim, kv_of_head, offsets, rule};
  Resources& gpu = context.cuda();
  if (type == DType::bf16) {
    for (const AttentionPart& part : parts_of(gpu, input)) {
      const AttentionInput there = input.of(part.offsets);
      if (part.cudnn_length > 0 && cudnn_attention(gpu, there, part.cudnn_length, result.view(), log_sums))
        continue;
      tensor_attention(gpu, there, result.view(), log_sums);
    }
  } else {
    general_attention(gpu, input, result.view(), log_sums);
  }
  result.finish(context);
}

void attention_backward(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                        std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
                        std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums,
                        const Tensor& d_out, const Tensor& d_q, const Tensor& d_k, const Tensor& d_v,
                        const AttentionRule& any_rule) {
  if (q.empty()) {
    fill_zero(d_k);
    fill_zero(d_v);
    return;
  }
  Resources& gpu = context.cuda();
  const AttentionRule rule = any_rule.of(offsets);
  const DType type = type_of_attention(context, head_dim, rule);
  const Operand queries(context, q, type), keys(context, k, type), values(context, v, type);
  const Operand known(context, out, type), gradient(context, d_out, type);
  const Result by_q(d_q, type), by_k(d_k, type), by_v(d_v, type);
  const AttentionInput input{queries.view(), keys.view(), values.view(), head_dim, kv_of_head, offsets, rule};
  AttentionGradients to{known.view(), log_sums,    gradient.view(), nullptr,
                        by_q.view(),  by_k.view(), by_v.view()};
  std::optional<Array<float>> products;  // which cuDNN forms itself
  const auto form_products = [&] {
    if (products) return;
    products.emplace(q.rows() * input.heads(), "gradients of attention");
    multiply(gpu, known.view(), gradient.view(), head_dim, *products);
    to.products = products->data();
  };
  if (type == DType::bf16) {
    for (const AttentionPart& part : parts_of(gpu, input)) {
      const AttentionInput there = input.of(part.offsets);
      if (part.cudnn_length > 0 && cudnn_attention_backward(gpu, there, part.cudnn_length, to)) continue;
      form_products();
      tensor_attention_backward(gpu, there, to);
    }
  } else {
    form_products();
    general_attention_backward(gpu, input, to);
  }
  for (const Result* result : {&by_q, &by_k, &by_v}) result->finish(context);
}

}  // namespace galapagos::ops::cuda
