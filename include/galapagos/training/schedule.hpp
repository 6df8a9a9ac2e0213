#pragma once

#include <cstdint>
#include <string>

namespace galapagos {

enum class Decay : std::uint8_t { constant, linear, cosine };

/// "cosine" and so on.
std::string name_of(Decay decay);

/// Learning rates of a run of `steps` updates: linear warm-up over the first `warmup` of them, then a decay
/// from `peak` to `least`.
struct Schedule {
  Decay decay = Decay::cosine;
  double peak = 1e-4;
  double least = 0;
  std::int64_t warmup = 0;
  std::int64_t steps = 1;

  /// Of update `step`, counted from 0: peak (step + 1) / warmup while warming up, then with x = (step -
  /// warmup) / (steps - warmup) least + (peak - least) (1 - x), or (1 + cos(pi x)) / 2 in place of 1 - x.
  double at(std::int64_t step) const;
};

}  // namespace galapagos
