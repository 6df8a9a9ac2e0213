#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/io/token_source.hpp>
#include <galapagos/model/forward.hpp>

namespace galapagos {

struct CalibrationBatches {
  std::vector<Batch> all;
  std::size_t fitted = 0;  ///< the first of them; the rest are held out to choose ridges on
};

/// The batches of at most `most_tokens`; where `holder_out`, an option, holds some out about an eighth of the
/// tokens, in whole documents where there are as many as eight, so that no text tells about what is held out:
/// puts their sequences last in `calibration`. InputError naming the option where there are too few
/// sequences.
CalibrationBatches calibration_batches(TokenSet& calibration, std::int64_t most_tokens,
                                       const std::optional<std::string>& holder_out);

}  // namespace galapagos
