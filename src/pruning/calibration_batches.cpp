#include "calibration_batches.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/weight_fit.hpp>

namespace galapagos {

std::vector<Batch> calibration_batches(const TokenSet& calibration, std::int64_t most_tokens,
                                       const std::optional<std::string>& holder_out) {
  if (holder_out && calibration.sequences() < held_out_every) {
    throw InputError(
        fmt::format("{} sequences are too few to hold any out", calibration.sequences()), *holder_out,
        fmt::format("give at least {}, with more calibration data or a smaller --sequence-length",
                    held_out_every));
  }
  while (true) {
    std::vector<Batch> batches = make_batches(calibration.tokens, calibration.offsets, most_tokens);
    if (!holder_out || batches.size() >= held_out_every) return batches;
    most_tokens /= 2;
  }
}

}  // namespace galapagos
