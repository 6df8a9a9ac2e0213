#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {

void Progress::advance(std::int64_t amount) {
  constexpr double seconds_between_lines = 5;
  done_ += amount;
  const double now = watch_.seconds();
  if (now - last_line_ < seconds_between_lines || done_ <= 0) return;
  last_line_ = now;
  const double left = now * static_cast<double>(total_ - done_) / static_cast<double>(done_);
  log_info("{} {}/{}, ETA {}", phase_, human_count(static_cast<std::uint64_t>(done_)),
           human_count(static_cast<std::uint64_t>(total_)), human_duration(left));
}

}  // namespace galapagos
