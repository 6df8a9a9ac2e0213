#include <algorithm>
#include <cmath>
#include <limits>

#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/search/least_seconds.hpp>

namespace galapagos {
namespace {

constexpr double timed_seconds = 0.05;  // so long that the clock and the wait for a GPU do not count
constexpr std::int64_t most_timed_passes = 1000;
constexpr double settled = 1.005;  // how near the two least of a measurement that is over are
constexpr double doubtful = 1.02;
constexpr std::int64_t patience = 4;  // as many measurements as are asked for at most

}  // namespace

double least_seconds(Device device, std::int64_t repeats, const std::string& what,
                     const std::function<void()>& pass, const CommonSeconds& common) {
  const auto sweep = [&](std::int64_t passes) {
    const Stopwatch watch;
    for (std::int64_t i = 0; i < passes; ++i) pass();
    synchronise(device);
    const double seconds = watch.seconds() / static_cast<double>(passes);
    return common ? common(seconds) : seconds;
  };
  sweep(1);  // makes workspaces, and chooses kernels
  const auto passes =
      std::clamp<std::int64_t>(std::llround(timed_seconds / std::max(sweep(1), 1e-9)), 1, most_timed_passes);
  double least = std::numeric_limits<double>::infinity(), second = least;
  for (std::int64_t i = 0; i < patience * repeats; ++i) {
    if (i >= repeats && second <= settled * least) break;
    const double seconds = sweep(passes);
    second = std::min(second, std::max(least, seconds));
    least = std::min(least, seconds);
  }
  if (second > doubtful * least)
    log_warning("the two shortest of {} measurements of {} lie {:.1f} % apart: something else runs here",
                patience * repeats, what, 100 * (second / least - 1));
  return least;
}

}  // namespace galapagos
