#include <algorithm>
#include <cstdio>
#include <fmt/format.h>

#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {
namespace {

constexpr double seconds_between_lines = 5;
constexpr double seconds_between_bars = 0.2;
constexpr std::int64_t bar_width = 30;

}  // namespace

Progress::~Progress() {
  if (bar_shown_) std::fputs("\r\033[K", stderr);
}

void Progress::advance(std::int64_t amount, const std::string& note) {
  done_ += amount;
  total_ = std::max(total_, done_);  // some totals are estimates
  const double now = watch_.seconds();
  const bool terminal = logs_to_terminal();
  if (now - last_line_ < (terminal ? seconds_between_bars : seconds_between_lines) || done_ <= already_)
    return;
  last_line_ = now;
  const double left = now * static_cast<double>(total_ - done_) / static_cast<double>(done_ - already_);
  const std::string line = fmt::format(
      "{} {}/{}, ETA {}{}{}", phase_, human_count(static_cast<std::uint64_t>(done_)),
      human_count(static_cast<std::uint64_t>(total_)), human_duration(left), note.empty() ? "" : ", ", note);
  if (!terminal) return log_line_info(line);
  const std::int64_t full = std::min(bar_width, bar_width * done_ / std::max<std::int64_t>(total_, 1));
  std::fputs(fmt::format("\r\033[K[{:#<{}}{:.<{}}] {}", "", full, "", bar_width - full, line).c_str(),
             stderr);
  std::fflush(stderr);
  bar_shown_ = true;
}

}  // namespace galapagos
