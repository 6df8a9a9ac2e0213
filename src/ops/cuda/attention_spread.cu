#include "attention_spread.hpp"
#include "packs.cuh"

#include <numeric>

namespace galapagos::ops::cuda {
namespace {

/// Of rows that begin at `from` and `to`; a thread copies a pack.
__global__ void spread(const __nv_bfloat16* from, const std::int32_t* kv_of_head, std::int64_t heads,
                       std::int64_t kv_heads, std::int64_t packs, std::int64_t count, __nv_bfloat16* to) {
  using Packed = Pack<__nv_bfloat16, pack_size>;
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) {
    const std::int64_t row = i / (heads * packs), head = i / packs % heads;
    reinterpret_cast<Packed*>(to)[i] =
        reinterpret_cast<const Packed*>(from)[(row * kv_heads + kv_of_head[head]) * packs + i % packs];
  }
}

__global__ void sum_heads(const __nv_bfloat16* from, const std::int32_t* group_heads,
                          const std::int32_t* group_firsts, std::int64_t heads, std::int64_t kv_heads,
                          std::int64_t packs, std::int64_t count, __nv_bfloat16* to) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) {
    const std::int64_t row = i / (kv_heads * packs), kv_head = i / packs % kv_heads;
    float sum[pack_size] = {};
    for (std::int32_t at = group_firsts[kv_head]; at < group_firsts[kv_head + 1]; ++at) {
      float values[pack_size];
      load_pack(from + ((row * heads + group_heads[at]) * packs + i % packs) * pack_size, values);
#pragma unroll
      for (int j = 0; j < pack_size; ++j) sum[j] += values[j];
    }
    store_pack(sum, to + i * pack_size);
  }
}

/// The sequences' first row of a tensor.
__nv_bfloat16* first_row(const AttentionInput& input, const Tensor& tensor) {
  return data_as<__nv_bfloat16>(tensor) + input.offsets.front() * tensor.columns();
}

std::int64_t rows_of(const AttentionInput& input) {
  return input.offsets.back() - input.offsets.front();
}

}  // namespace

SpreadHeads::SpreadHeads(Resources& gpu, const AttentionInput& input)
    : input_(input), own_head_(static_cast<std::size_t>(input.heads())) {
  std::iota(own_head_.begin(), own_head_.end(), 0);
  keys_ = copy();
  values_ = copy();
  const Array<std::int32_t> kv_of_head = gpu.upload(input.kv_of_head);
  const std::int64_t packs = input.head_dim / pack_size, count = rows_of(input) * input.heads() * packs;
  const auto fill = [&](const Tensor& from, const Tensor& to) {
    launch(gpu, spread, blocks_for(count), block_threads, 0, first_row(input, from), kv_of_head.data(),
           input.heads(), input.kv_heads(), packs, count, first_row(input, to));
  };
  fill(input.k, keys_);
  fill(input.v, values_);
}

OwnedTensor SpreadHeads::copy() const {
  return OwnedTensor(input_.q.shape, DType::bf16, Device::cuda, "keys and values of query heads");
}

void SpreadHeads::make_gradients() {
  d_keys_ = copy();
  d_values_ = copy();
}

void SpreadHeads::sum_up(Resources& gpu, const Tensor& d_k, const Tensor& d_v) const {
  const HeadGroups groups(input_.kv_of_head, input_.kv_heads());
  const Array<std::int32_t> heads = gpu.upload(std::span<const std::int32_t>(groups.heads));
  const Array<std::int32_t> firsts = gpu.upload(std::span<const std::int32_t>(groups.firsts));
  const std::int64_t packs = input_.head_dim / pack_size;
  const std::int64_t count = rows_of(input_) * input_.kv_heads() * packs;
  const auto sum = [&](const Tensor& from, const Tensor& to) {
    launch(gpu, sum_heads, blocks_for(count), block_threads, 0, first_row(input_, from), heads.data(),
           firsts.data(), input_.heads(), input_.kv_heads(), packs, count, first_row(input_, to));
  };
  sum(d_keys_, d_k);
  sum(d_values_, d_v);
}

}  // namespace galapagos::ops::cuda
