#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/tensor/tensor.hpp>

// What timing parts of a model and timing whole ones have in common.
namespace galapagos {

constexpr std::uint64_t timing_seed = 0;

/// Values in [-scale, scale), which come again after some thousand.
OwnedTensor random_tensor(const ops::Context& context, Shape shape, DType type, float scale = 1);

std::vector<std::int32_t> random_ids(const HfConfig& config, std::int64_t count);

/// Of `batch` sequences of `length` tokens each.
std::vector<std::int64_t> even_offsets(std::int64_t batch, std::int64_t length);

/// K and V of the tokens before those that are decoded, `keys` of them over all KV heads and sequences.
struct TimedCache {
  OwnedTensor k, v;  // [keys, head_dim], and V's transpose

  TimedCache() = default;
  TimedCache(const ops::Context& context, const HfConfig& config, std::int64_t keys, DType type);
};

/// Query rows that meet each key: as many as a KV head has query heads.
constexpr std::int64_t queries_of(std::int64_t heads, std::int64_t kv_heads) {
  return kv_heads == 0 ? 0 : (heads + kv_heads - 1) / kv_heads;
}

/// What stands for attention over a cache: the products of queries [queries, head_dim] with K, and of the
/// scores [queries, keys] with V.
void attend(const ops::Context& context, const Tensor& queries, const TimedCache& cache, const Tensor& scores,
            const Tensor& mixed);

}  // namespace galapagos
