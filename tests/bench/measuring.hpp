#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include <galapagos/core/progress.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos::bench {

/// Seconds until the device is done with the work: the median of some runs, after one that warms up.
inline double median_seconds(Device device, const std::function<void()>& work, int runs) {
  work();
  synchronise(device);
  std::vector<double> times;
  for (int run = 0; run < runs; ++run) {
    const Stopwatch watch;
    work();
    synchronise(device);
    times.push_back(watch.seconds());
  }
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[static_cast<std::size_t>(runs / 2)];
}

/// Evenly distributed values of standard deviation `scale`, by xorshift64.
inline std::vector<float> random_values(std::size_t count, float scale, std::uint64_t seed) {
  std::vector<float> values(count);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (float& value : values) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    value = scale * 1.7320508f * (static_cast<float>(state >> 40) * 0x1p-23f - 1.0f);
  }
  return values;
}

}  // namespace galapagos::bench
