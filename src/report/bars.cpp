#include "legend.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {
namespace {

constexpr double width = 860, bar_height = 26, pitch = 36;

}  // namespace

std::string draw(const Bars& bars) {
  if (bars.bars.empty()) return "";
  std::vector<std::string> names;  // in the order in which they come first
  std::size_t longest = 0;
  for (const Bars::Bar& bar : bars.bars) {
    longest = std::max(longest, bar.name.size());
    for (const Bars::Part& part : bar.parts)
      if (std::ranges::find(names, part.name) == names.end()) names.push_back(part.name);
  }
  const double left =
      bars.bars.size() == 1 ? 8 : 16 + 6.4 * static_cast<double>(std::min<std::size_t>(longest, 40));
  Svg svg(width, pitch * static_cast<double>(bars.bars.size()) + 4, bars.title);
  for (std::size_t b = 0; b < bars.bars.size(); ++b) {
    const Bars::Bar& bar = bars.bars[b];
    const double y = 4 + pitch * static_cast<double>(b);
    if (bars.bars.size() > 1) svg.text(left - 8, y + bar_height / 2 + 4, bar.name, Svg::Anchor::end, "tick");
    double x = left;
    for (const Bars::Part& part : bar.parts) {
      const double length = std::clamp(part.share, 0.0, 1.0) * (width - left - 8);
      if (length < 0.3) continue;
      const auto colour = static_cast<std::size_t>(std::ranges::find(names, part.name) - names.begin());
      svg.rect(x, y, std::max(length - 1.5, 0.5), bar_height, "cell",
               series_colour(colour) + ";fill:var(--c)", part.title);
      const std::string text = fmt::format("{:.0f} %", 100 * part.share);
      if (length > 44) svg.text(x + length / 2, y + bar_height / 2 + 4, text, Svg::Anchor::middle, "on");
      x += length;
    }
  }
  std::vector<LegendEntry> entries;
  for (std::size_t i = 0; i < names.size(); ++i) entries.push_back({names[i], "dot", series_colour(i)});
  return figure(bars.title, legend(entries), svg.str(), bars.note, true);
}

}  // namespace galapagos::report
