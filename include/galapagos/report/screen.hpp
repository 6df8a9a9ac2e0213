#pragma once

#include <span>
#include <string>
#include <vector>

#include <galapagos/report/run_data.hpp>

namespace galapagos::report {

struct ScreenStyle {
  std::size_t width = 80;
  std::size_t height = 0;  ///< lines at most; 0: as many as there are
  bool colour = false;     ///< ANSI's
  bool utf8 = true;        ///< else ASCII alone
};

/// What `top` shows of runs: lines of no more than `style.width` columns.
std::vector<std::string> screen(std::span<const RunData> runs, const ScreenStyle& style);

/// How it stands with a run, in a word or two: "running", "silent", "ended", ...
enum class Standing { running, silent, killed, stopped, done };
Standing standing_of(const RunData& run);
std::string name_of(Standing standing);

/// How far a run has come.
struct Headway {
  double done = unknown, of = unknown;  ///< of what `unit` says
  std::string unit;
  double seconds_left = unknown;  ///< by the rate of late
};
Headway headway_of(const RunData& run);

/// The last `count` numbers as bars of eight heights, the least the lowest; '?' where one is unknown.
std::string sparkline(std::span<const double> values, std::size_t count, bool utf8);

}  // namespace galapagos::report
