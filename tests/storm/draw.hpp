#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace galapagos::storm {

/// What a seed and a number draw, the same on any machine.
class Draw {
 public:
  Draw(std::uint64_t seed, std::uint64_t number) : engine_(0x9e3779b97f4a7c15 * (seed + 1) + number) {}

  std::uint64_t below(std::uint64_t count) { return engine_() % count; }
  std::size_t index(std::size_t count) { return static_cast<std::size_t>(below(count)); }
  double real() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  double between(double low, double high) { return low + (high - low) * real(); }
  bool chance(double share) { return real() < share; }
  template <typename T>
  const T& pick(const std::vector<T>& values) {
    return values[index(values.size())];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace galapagos::storm
