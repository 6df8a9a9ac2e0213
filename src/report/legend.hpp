#pragma once

#include <string>
#include <utility>
#include <vector>

namespace galapagos::report {

/// An entry of a legend: its name, style and number of series, by which a click hides that.
struct LegendEntry {
  std::string name, swatch, colour;  ///< swatch: a class
  std::size_t series = 0;
  bool toggles = false;
};
std::string legend(const std::vector<LegendEntry>& entries);

}  // namespace galapagos::report
