#include "eval_parts.hpp"

#include <galapagos/model/forward.hpp>

namespace galapagos {
namespace {

/// Sequences [first, last) of a set.
TokenDraw part_of(const TokenSet& set, std::size_t first, std::size_t last) {
  TokenDraw draw;
  for (std::size_t s = first; s < last; ++s) {
    const std::span<const std::int32_t> sequence = set.sequence(s);
    draw.sequences.push_back(static_cast<std::uint32_t>(s));
    draw.tokens.insert(draw.tokens.end(), sequence.begin(), sequence.end());
    draw.offsets.push_back(draw.tokens.size());
  }
  return draw;
}

}  // namespace

std::vector<EvalPart> cut_eval_data(const std::vector<TokenSet>& sets, std::int64_t batch_tokens) {
  std::vector<EvalPart> parts;
  for (std::size_t set = 0; set < sets.size(); ++set) {
    std::size_t first = 0;
    for (const Batch& batch : make_batches(sets[set].tokens, sets[set].offsets, batch_tokens)) {
      const std::size_t last = first + batch.offsets.size() - 1;
      EvalPart part{set, part_of(sets[set], first, last)};
      if (part.draw.predicted() > 0) parts.push_back(std::move(part));
      first = last;
    }
  }
  return parts;
}

}  // namespace galapagos
