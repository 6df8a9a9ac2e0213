#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace galapagos {

/// Philox4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128
/// random bits for every counter and key.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A stream of random numbers that is a function of what it is for, not of what was drawn before elsewhere:
/// streams of different seeds or names are independent, and any rank can make any of them.
class RandomStream {
 public:
  /// `kind` tells the uses apart; at most 2^8 of them, 2^24 individuals.
  struct Name {
    std::uint32_t island = 0;
    std::uint32_t generation = 0;
    std::uint32_t individual = 0;
    std::uint8_t kind = 0;
  };

  RandomStream(std::uint64_t seed, const Name& name);

  std::uint32_t next();
  /// Passes over the next `draws` numbers.
  void skip(std::uint64_t draws);
  /// Uniform in [0, count), count >= 1, without bias.
  std::uint32_t below(std::uint32_t count);
  std::size_t index(std::size_t count) { return below(static_cast<std::uint32_t>(count)); }

  /// The first `count` places of a random permutation of `values` (Fisher and Yates).
  template <typename T>
  void shuffle(std::vector<T>& values, std::size_t count) {
    for (std::size_t i = 0; i < count && i + 1 < values.size(); ++i) {
      std::swap(values[i], values[i + index(values.size() - i)]);
    }
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  std::size_t used_ = 4;
};

}  // namespace galapagos
