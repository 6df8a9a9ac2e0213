#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/io/token_source.hpp>
#include <galapagos/model/forward.hpp>

namespace galapagos {

/// Puts last the sequences that are held out for `holder_out`, an option: about an eighth of the tokens, in
/// whole documents, so that no text tells about what is held out; where there are fewer than eight documents
/// the last eighth of the sequences. Returns how many come before them. InputError naming the option where
/// there are fewer than eight sequences.
std::size_t hold_out(TokenSet& text, const std::string& holder_out);

struct CalibrationBatches {
  std::vector<Batch> all;
  std::size_t fitted = 0;  ///< the first of them; the rest are held out to choose ridges on
};

/// The batches of at most `most_tokens`; with `holder_out` of what hold_out() leaves, then of what it holds
/// out.
CalibrationBatches calibration_batches(TokenSet& calibration, std::int64_t most_tokens,
                                       const std::optional<std::string>& holder_out);

}  // namespace galapagos
