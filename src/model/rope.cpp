#include <algorithm>
#include <cmath>
#include <numbers>

#include <galapagos/model/rope.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

/// Which share of a frequency stays as it is, the rest being divided by the factor.
double kept_by_llama3(const RopeSettings& rope, double frequency) {
  const double turns = static_cast<double>(rope.original_positions) * frequency / (2 * std::numbers::pi);
  return std::clamp((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0,
                    1.0);
}

double kept_by_yarn(const RopeSettings& rope, std::int64_t spread, std::int64_t pair) {
  const auto pair_that_turns = [&](double times) {
    return static_cast<double>(spread) *
           std::log(static_cast<double>(rope.original_positions) / (times * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = pair_that_turns(rope.beta_fast), high = pair_that_turns(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(spread - 1));
  if (low == high) high += 0.001;
  return 1 - std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
}

OwnedTensor on_device(const std::vector<float>& values, Device device) {
  OwnedTensor tensor({std::ssize(values)}, DType::f32, device, "rotary frequencies");
  copy_bytes(tensor->data, device, reinterpret_cast<const std::byte*>(values.data()), Device::cpu,
             tensor->bytes());
  return tensor;
}

/// The rows of sequences, where there are any.
Tensor rows(const Tensor& x, std::int64_t first, std::int64_t end) {
  return x.empty() ? x : x.slice(first, end - first);
}

}  // namespace

std::vector<float> rope_frequencies(const RopeSettings& rope, std::int64_t head_dim, bool in_long) {
  const std::int64_t spread = rope.spread(head_dim);
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < rope.pairs(head_dim); ++i) {
    double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(spread));
    const auto stretch = [&](double kept) { frequency *= kept + (1 - kept) / rope.factor; };
    switch (rope.kind) {
      case RopeKind::standard:
      case RopeKind::dynamic:
        break;  // which changes only what is longer than the model takes
      case RopeKind::linear:
        frequency /= rope.factor;
        break;
      case RopeKind::llama3:
        stretch(kept_by_llama3(rope, frequency));
        break;
      case RopeKind::yarn:
        stretch(kept_by_yarn(rope, spread, i));
        break;
      case RopeKind::longrope:
        frequency /= (in_long ? rope.long_factors : rope.short_factors)[static_cast<std::size_t>(i)];
        break;
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

Rope::Rope(const RopeSettings& settings, std::int64_t head_dim, Device device)
    : settings_(settings),
      head_dim_(head_dim),
      short_(on_device(rope_frequencies(settings, head_dim), device)) {
  if (settings_.depends_on_length()) long_ = on_device(rope_frequencies(settings_, head_dim_, true), device);
}

/// Gives `turn` runs of sequences that turn alike: their tensors, offsets, first sequence and frequencies.
void Rope::in_runs(const Tensor& q, const Tensor& k, std::span<const std::int64_t> offsets,
                   std::span<const std::int64_t> lengths, const auto& turn) const {
  if (long_->empty()) return turn(q, k, offsets, 0, short_.view());
  const auto is_long = [&](std::size_t s) {
    return (lengths.empty() ? offsets[s + 1] - offsets[s] : lengths[s]) > settings_.original_positions;
  };
  for (std::size_t first = 0, end = 0; first + 1 < offsets.size(); first = end) {
    while (end + 1 < offsets.size() && is_long(end) == is_long(first)) ++end;
    std::vector<std::int64_t> own;
    for (std::size_t s = first; s <= end; ++s) own.push_back(offsets[s] - offsets[first]);
    turn(rows(q, offsets[first], offsets[end]), rows(k, offsets[first], offsets[end]), own, first,
         is_long(first) ? long_.view() : short_.view());
  }
}

void Rope::turn(const ops::Context& context, const Tensor& q, const Tensor& k,
                std::span<const std::int64_t> offsets, std::span<const std::int64_t> starts,
                std::span<const std::int64_t> lengths) const {
  in_runs(q, k, offsets, lengths,
          [&](const Tensor& some_q, const Tensor& some_k, std::span<const std::int64_t> own,
              std::size_t first, const Tensor& frequencies) {
            ops::rope(context, some_q, some_k, head_dim_, frequencies, own,
                      static_cast<float>(settings_.attention_factor),
                      starts.empty() ? starts : starts.subspan(first, own.size() - 1));
          });
}

void Rope::turn_back(const ops::Context& context, const Tensor& d_q, const Tensor& d_k,
                     std::span<const std::int64_t> offsets) const {
  in_runs(d_q, d_k, offsets, {},
          [&](const Tensor& some_q, const Tensor& some_k, std::span<const std::int64_t> own, std::size_t,
              const Tensor& frequencies) {
            ops::rope_backward(context, some_q, some_k, head_dim_, frequencies, own,
                               static_cast<float>(settings_.attention_factor));
          });
}

}  // namespace galapagos
