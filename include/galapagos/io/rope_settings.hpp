#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace galapagos {

/// How transformers calls them.
enum class RopeKind : std::uint8_t { standard, linear, dynamic, yarn, longrope, llama3 };
inline constexpr RopeKind all_rope_kinds[] = {RopeKind::standard, RopeKind::linear,   RopeKind::dynamic,
                                              RopeKind::yarn,     RopeKind::longrope, RopeKind::llama3};

/// The name in config.json.
constexpr std::string_view name_of(RopeKind kind) {
  constexpr std::string_view names[] = {"default", "linear", "dynamic", "yarn", "longrope", "llama3"};
  return names[static_cast<std::size_t>(kind)];
}

/// How a position turns the heads of q and k. Members that a kind does not use keep these values.
struct RopeSettings {
  RopeKind kind = RopeKind::standard;
  double theta = 0;
  double rotated_share = 1;     ///< of a head's elements, the first ones; the others are left as they are
  double factor = 1;            ///< that wavelengths are stretched by
  double attention_factor = 1;  ///< that cosines and sines are multiplied by: yarn, longrope
  std::int64_t original_positions = 0;               ///< before the stretching: llama3, yarn, longrope
  double low_freq_factor = 1, high_freq_factor = 4;  ///< llama3
  double beta_fast = 32, beta_slow = 1;              ///< yarn
  bool truncate = true;                              ///< yarn
  /// longrope: of each wavelength, in sequences of up to original_positions tokens and in longer ones.
  std::vector<double> short_factors, long_factors;

  /// Elements of a head that frequencies are spread over.
  std::int64_t spread(std::int64_t head_dim) const {
    return static_cast<std::int64_t>(static_cast<double>(head_dim) * rotated_share);
  }
  /// Pairs of elements that are turned.
  std::int64_t pairs(std::int64_t head_dim) const { return (spread(head_dim) + 1) / 2; }
  /// Whether longer sequences are turned otherwise than short ones.
  bool depends_on_length() const { return kind == RopeKind::longrope && short_factors != long_factors; }

  bool operator==(const RopeSettings&) const = default;
};

}  // namespace galapagos
