#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <galapagos/search/token_draw.hpp>

namespace galapagos {

/// A piece of the evaluation data that one replica measures at a time.
struct EvalPart {
  std::size_t set = 0;
  TokenDraw draw;
};

/// Whole sequences of every set, about `batch_tokens` at a time.
std::vector<EvalPart> cut_eval_data(const std::vector<TokenSet>& sets, std::int64_t batch_tokens);

}  // namespace galapagos
