#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/io/token_source.hpp>
#include <galapagos/model/forward.hpp>

namespace galapagos {

/// The batches of at most `most_tokens`; where `holder_out`, an option, holds some out to choose ridges on,
/// smaller ones if that takes it to have one held out. InputError naming it where there are too few
/// sequences.
std::vector<Batch> calibration_batches(const TokenSet& calibration, std::int64_t most_tokens,
                                       const std::optional<std::string>& holder_out);

}  // namespace galapagos
