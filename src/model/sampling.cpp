#include <algorithm>
#include <cmath>
#include <vector>

#include <galapagos/core/random.hpp>
#include <galapagos/model/sampling.hpp>

namespace galapagos {
namespace {

constexpr std::uint32_t drawing_tokens = 34U << 24;  // apart from what RandomStreams are for

struct Candidate {
  double weight;  // probability times what is the same for all
  std::int32_t id;

  /// Of equals the lower id.
  bool operator<(const Candidate& other) const {
    return weight != other.weight ? weight > other.weight : id < other.id;
  }
};
static_assert(sizeof(Candidate) == candidate_bytes);

double sum_of(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& one : candidates) sum += one.weight;
  return sum;
}

/// The likeliest k.
void keep_first(std::vector<Candidate>& candidates, std::int64_t k) {
  if (k >= std::ssize(candidates)) return;
  std::nth_element(candidates.begin(), candidates.begin() + k, candidates.end());
  candidates.resize(static_cast<std::size_t>(k));
}

/// Whom no share of top_p needs: all of them together have less than the rest of 1.
void drop_unlikely(std::vector<Candidate>& candidates, double top_p) {
  const double least = (1 - top_p) * sum_of(candidates) / static_cast<double>(candidates.size());
  std::erase_if(candidates, [&](const Candidate& one) { return one.weight < least; });
}

}  // namespace

double uniform_for(std::uint64_t seed, std::uint64_t prompt, std::uint64_t position) {
  const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  const auto high = [](std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); };
  const auto bits = philox({low(prompt), high(prompt), low(position), drawing_tokens | high(position)},
                           {low(seed), high(seed)});
  const std::uint64_t word = std::uint64_t{bits[0]} << 32 | bits[1];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

std::int32_t draw_filtered(std::span<const float> logits, const Sampling& sampling, double uniform) {
  const auto greatest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  std::vector<Candidate> candidates(logits.size());
  for (std::size_t id = 0; id < logits.size(); ++id)
    candidates[id] = {std::exp((static_cast<double>(logits[id]) - greatest) / sampling.temperature),
                      static_cast<std::int32_t>(id)};
  if (sampling.top_k > 0) keep_first(candidates, sampling.top_k);
  const double needed = sampling.top_p * sum_of(candidates);
  if (sampling.top_p < 1) drop_unlikely(candidates, sampling.top_p);
  std::sort(candidates.begin(), candidates.end());
  double kept = 0;
  std::size_t count = 0;
  while (count < candidates.size() && (count == 0 || sampling.top_p == 1 || kept < needed))
    kept += candidates[count++].weight;
  double before = 0;
  for (std::size_t i = 0; i < count; ++i) {
    before += candidates[i].weight;
    if (before > uniform * kept) return candidates[i].id;
  }
  return candidates[count - 1].id;
}

}  // namespace galapagos
