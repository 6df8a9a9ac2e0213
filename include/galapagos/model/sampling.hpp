#pragma once

#include <cstdint>
#include <span>

namespace galapagos {

/// How the next token is chosen. As transformers has it, the temperature divides the logits, then the top_k
/// greatest stay, and of these the fewest whose probabilities add up to top_p.
struct Sampling {
  double temperature = 0;  ///< 0: always the greatest logit
  std::int64_t top_k = 0;  ///< 0: all
  double top_p = 1;
  std::uint64_t seed = 0;

  bool greedy() const { return temperature == 0; }
  bool filters() const { return top_k > 0 || top_p < 1; }
};

/// In [0, 1): the number for token `position` of what is written behind prompt `prompt`, whatever was drawn
/// before.
double uniform_for(std::uint64_t seed, std::uint64_t prompt, std::uint64_t position);

/// Bytes that draw_filtered() takes for a logit.
constexpr std::uint64_t candidate_bytes = 16;

/// The id drawn from a row of finite logits: the first whose cumulative probability exceeds `uniform`, the
/// likeliest first.
std::int32_t draw_filtered(std::span<const float> logits, const Sampling& sampling, double uniform);

}  // namespace galapagos
