#include "../backends.hpp"
#include "attention.hpp"
#include "launch.cuh"
#include "reduce.cuh"

#include <cmath>

namespace galapagos::ops::cuda {
namespace {

/// d_out . out of every head of every row, which is sum_j P_ij dP_ij; a warp each.
__global__ void multiply_heads(const float* out, const float* d_out, std::int64_t count,
                               std::int64_t head_dim, float* products) {
  const std::int64_t warp = global_thread() / 32;
  if (warp >= count) return;
  float sum = 0;
  for (std::int64_t i = threadIdx.x % 32; i < head_dim; i += 32)
    sum += out[warp * head_dim + i] * d_out[warp * head_dim + i];
  sum = warp_reduce(sum, Sum{});
  if (threadIdx.x % 32 == 0) products[warp] = sum;
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

float AttentionInput::scale() const {
  return 1.0f / std::sqrt(static_cast<float>(head_dim));
}

bool on_tensor_cores(std::int64_t head_dim) {
  return head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128;
}

void attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
               std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
               std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums) {
  const AttentionInput input{q, k, v, head_dim, kv_of_head, offsets};
  if (q.empty()) return;
  if (context.products() != DType::f32 && on_tensor_cores(head_dim)) {
    tensor_attention(context, input, out, log_sums);
  } else {
    general_attention(context.cuda(), input, out, log_sums);
  }
}

void attention_backward(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                        std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
                        std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums,
                        const Tensor& d_out, const Tensor& d_q, const Tensor& d_k, const Tensor& d_v) {
  const AttentionInput input{q, k, v, head_dim, kv_of_head, offsets};
  if (q.empty()) {
    fill_zero(d_k);
    fill_zero(d_v);
    return;
  }
  Resources& gpu = context.cuda();
  const std::int64_t count = q.rows() * input.heads();
  const Array<float> products(count, "gradients of attention");
  launch(gpu, multiply_heads, blocks_for(count, block_threads / 32), block_threads, 0, out.floats(),
         d_out.floats(), count, head_dim, products.data());
  const AttentionGradients to{log_sums, d_out, products.data(), d_q, d_k, d_v};
  if (context.products() != DType::f32 && on_tensor_cores(head_dim)) {
    tensor_attention_backward(context, input, to);
  } else {
    general_attention_backward(gpu, input, to);
  }
}

}  // namespace galapagos::ops::cuda
