#include <vector>

#include <galapagos/core/progress.hpp>
#include <galapagos/model/shards.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {

void Shards::start_sum(const Tensor& values) const {
  if (alone()) return;
  const Stopwatch watch;
  summing_ = true;
  const auto count = static_cast<std::size_t>(values.elements());
  if (values.dtype == DType::bf16) {
    collectives_->start_sum_bf16(reinterpret_cast<std::uint16_t*>(values.data), count);
  } else {
    collectives_->start_sum(values.floats(), count);
  }
  seconds_ += watch.seconds();
}

void Shards::finish_sum() const {
  if (alone()) return;
  const Stopwatch watch;
  collectives_->finish_sum();
  summing_ = false;
  seconds_ += watch.seconds();
}

void Shards::abandon_sum() const noexcept {
  if (summing_) collectives_->abandon_sum();
  summing_ = false;
}

void Shards::sum(std::span<const Tensor> values, const Tensor& packed) const {
  if (alone() || values.empty()) return;
  const auto for_each = [&](const auto& copy) {
    std::int64_t at = 0;
    for (const Tensor& tensor : values) {
      copy(tensor, packed.slice(at, tensor.elements()));
      at += tensor.elements();
    }
  };
  for_each([](const Tensor& tensor, const Tensor& place) { copy_values(tensor, place); });
  sum(packed);
  for_each([](const Tensor& tensor, const Tensor& place) { copy_values(place, tensor); });
}

void Shards::take_from_root(std::span<const Tensor> values) const {
  if (alone()) return;
  std::vector<GatheredPart> parts;
  for (const Tensor& tensor : values) parts.push_back({tensor.data, tensor.bytes(), 0});
  collectives_->all_gather_parts(parts);
}

void Shards::add_product(const ops::Context& context, const Tensor& x, const Tensor& weight,
                         const Tensor* bias, const Tensor& hidden, const Tensor& room) const {
  if (!is_root()) bias = nullptr;  // once is enough
  const bool some = !weight.empty() || bias != nullptr;
  if (!alone() && room.dtype == DType::bf16) {
    if (some) {
      ops::linear(context, x, weight, bias, room);
    } else {
      fill_zero(room);
    }
    sum(room);
    return ops::add(context, room, hidden);
  }
  // One shard adds its part to what is there, the others put theirs in its place: the sum has all of it.
  const bool keeps = is_root();
  if (some) {
    ops::linear(context, x, weight, bias, hidden, keeps);
  } else if (!keeps) {
    fill_zero(hidden);
  }
  sum(hidden);
}

const Shards& alone() {
  static const Shards none;
  return none;
}

}  // namespace galapagos
