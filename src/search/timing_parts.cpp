#include "timing_parts.hpp"

#include <algorithm>
#include <span>

#include <galapagos/core/random.hpp>
#include <galapagos/ops/linear.hpp>

namespace galapagos {
namespace {

constexpr std::uint8_t value_draw = 31;  // apart from what weights are drawn from

}  // namespace

OwnedTensor random_tensor(const ops::Context& context, Shape shape, DType type, float scale) {
  constexpr std::size_t period = 8191;
  RandomStream random(timing_seed, {0, 0, 0, value_draw});
  std::vector<float> values(period);
  for (float& value : values) value = scale * (static_cast<float>(random.next()) * 0x1p-31f - 1);
  OwnedTensor host(shape, type, Device::cpu, "states");
  const auto all = static_cast<std::size_t>(host->elements());
  for (std::size_t first = 0; first < all; first += period) {
    const auto some = std::span(values).first(std::min(period, all - first));
    convert_from_float(some, type, host->data + first * size_of(type));
  }
  return context.device() == Device::cpu ? std::move(host) : copy_of(host, context.device(), "states");
}

std::vector<std::int32_t> random_ids(const HfConfig& config, std::int64_t count) {
  RandomStream random(timing_seed, {1, 0, 0, value_draw});
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(config.vocab_size))));
  return ids;
}

std::vector<std::int64_t> even_offsets(std::int64_t batch, std::int64_t length) {
  std::vector<std::int64_t> offsets;
  for (std::int64_t s = 0; s <= batch; ++s) offsets.push_back(s * length);
  return offsets;
}

TimedCache::TimedCache(const ops::Context& context, const HfConfig& config, std::int64_t keys, DType type)
    : k(random_tensor(context, {keys, config.head_dim}, type)),
      v(random_tensor(context, {config.head_dim, keys}, type)) {}

void attend(const ops::Context& context, const Tensor& queries, const TimedCache& cache, const Tensor& scores,
            const Tensor& mixed) {
  ops::linear(context, queries, cache.k, nullptr, scores);
  ops::linear(context, scores, cache.v, nullptr, mixed);
}

}  // namespace galapagos
