#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos::ops {

/// A number that was chosen by measuring and changes no result but by rounding: how wide blocks and tiles
/// are, how long the pieces.
struct Tuning {
  const char* name;
  std::int64_t value;
};

/// All of a device, as --print-config shows them; none where the program was built without it.
std::span<const Tuning> tuning_of(Device device);

/// Tokens whose logits are made at a time wherever logits are made, as those of a whole batch would not fit.
/// Every tile reads the whole head, and in training writes its gradient, which a GPU's caches do not hold.
constexpr std::int64_t logit_tile(Device device) {
  return device == Device::cpu ? 256 : 1024;
}
constexpr std::int64_t logit_tile(Device device, std::int64_t most_tokens) {
  return std::min(logit_tile(device), most_tokens);
}

/// Bytes of the candidates' last hidden states that a search holds at a time. More candidates share what they
/// are compared with, and the layers up to their first difference.
constexpr std::uint64_t compared_states(Device device) {
  return (device == Device::cpu ? std::uint64_t{512} : std::uint64_t{2048}) << 20;
}

/// Rows of the unpruned model's hidden states that are brought to the device at a time, to be normed there:
/// enough that the norm's launch is nothing beside the copy.
constexpr std::int64_t rows_brought = 2048;

}  // namespace galapagos::ops
