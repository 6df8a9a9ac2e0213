#include <algorithm>
#include <fmt/format.h>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/search/racing_options.hpp>

namespace galapagos {

std::vector<Origin> RacingOptions::every_way() {
  return {Origin::mutation, Origin::stride,    Origin::layer,
          Origin::removal,  Origin::crossover, Origin::exchange};
}

std::vector<Origin> parse_ways(const std::string& text) {
  const std::vector<Origin> every = RacingOptions::every_way();
  const char* remedy = "give some of mutation, stride, layer, removal, crossover, exchange";
  std::vector<Origin> ways;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::optional<Origin> way = origin_named(word);
    if (!way || std::find(every.begin(), every.end(), *way) == every.end())
      throw UsageError(fmt::format("no way to breed \"{}\"", word), "--breeding", remedy);
    if (std::find(ways.begin(), ways.end(), *way) == ways.end()) ways.push_back(*way);
  }
  if (ways.empty()) throw UsageError("no way to breed", "--breeding", remedy);
  return ways;
}

}  // namespace galapagos
