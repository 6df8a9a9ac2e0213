#include "rope.hpp"

#include <cmath>

#include <galapagos/model/rope.hpp>

namespace galapagos::gguf {
namespace {

/// That no text turns a pair by this much: for what is not to be turned at all.
constexpr float never = 1e30f;

std::vector<float> factors(const HfConfig& config, bool in_long) {
  const std::vector<float> frequencies = rope_frequencies(config.rope, config.head_dim, in_long);
  std::vector<float> divisors;
  for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
    const double usual =
        std::pow(config.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    const bool turned = i < std::ssize(frequencies) && frequencies[static_cast<std::size_t>(i)] > 0;
    divisors.push_back(turned ? static_cast<float>(usual / frequencies[static_cast<std::size_t>(i)]) : never);
  }
  return divisors;
}

}  // namespace

bool knows_rope(const Architecture& architecture, const RopeSettings& rope) {
  if (architecture.frequencies) return true;
  const bool known =
      rope.kind == RopeKind::standard || rope.kind == RopeKind::dynamic || rope.kind == RopeKind::linear ||
      (rope.kind == RopeKind::yarn && rope.truncate && rope.beta_fast == 32 && rope.beta_slow == 1);
  return known && rope.rotated_share == 1;
}

std::vector<std::pair<std::string, std::vector<float>>> rope_factors(const Architecture& architecture,
                                                                     const HfConfig& config) {
  const bool usual = (config.rope.kind == RopeKind::standard || config.rope.kind == RopeKind::dynamic) &&
                     config.rope.rotated_share == 1;
  if (!architecture.frequencies || usual) return {};
  if (config.rope.depends_on_length())
    return {{"rope_factors_long.weight", factors(config, true)},
            {"rope_factors_short.weight", factors(config, false)}};
  return {{"rope_freqs.weight", factors(config, false)}};
}

}  // namespace galapagos::gguf
