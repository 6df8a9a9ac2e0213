#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <limits>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/front.hpp>

namespace galapagos {
namespace {

constexpr std::size_t most_sizes = 1000;

[[noreturn]] void refuse(const std::string& text) {
  throw UsageError("'" + printable(text) + "'", "--targets",
                   "give sparsities between 0 and 1, each once, as \"0.2 0.3 0.4\" or 0.2:0.5:0.1");
}

double number(const std::string& word, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (word.empty() || *end != '\0' || !(value > 0 && value < 1)) refuse(text);
  return value;
}

}  // namespace

std::vector<double> parse_targets(const std::string& text) {
  std::vector<double> targets;
  if (text.find(':') != std::string::npos) {
    std::istringstream words(text);
    std::vector<double> range;
    for (std::string word; std::getline(words, word, ':');) range.push_back(number(word, text));
    if (range.size() != 3 || range[1] < range[0]) refuse(text);
    const double steps = std::floor((range[1] - range[0]) / range[2] + 1e-9);
    if (steps >= static_cast<double>(most_sizes)) refuse(text);
    for (double i = 0; i <= steps; ++i) {  // 0.3, not 0.30000000000000004
      targets.push_back(std::round((range[0] + i * range[2]) * 1e12) / 1e12);
    }
  } else {
    std::istringstream words(text);
    for (std::string word; words >> word;) targets.push_back(number(word, text));
  }
  std::sort(targets.begin(), targets.end());
  const bool twice = std::adjacent_find(targets.begin(), targets.end()) != targets.end();
  if (targets.empty() || targets.size() > most_sizes || twice) refuse(text);
  return targets;
}

std::vector<Assignment> nested(const SearchSpace& space, const std::vector<Budget>& budgets,
                               const std::vector<FrontPoint>& points, const std::vector<EndLosses>& losses) {
  std::vector<Assignment> chain(points.size());
  chain.back() = points.back().assignment;
  for (std::size_t k = points.size() - 1; k-- > 0;) {
    EndLosses of_levels;
    for (std::size_t i = 0; i < space.modules.size(); ++i) {
      const auto levels = static_cast<std::size_t>(space.modules[i].last()) + 1;
      std::vector<double>& one = of_levels.emplace_back(levels, 0.0);
      if (k < losses.size() && !losses[k].empty()) one = losses[k][i];
      for (auto level = static_cast<std::size_t>(chain[k + 1][i]) + 1; level < levels; ++level)
        one[level] = std::numeric_limits<double>::infinity();
    }
    chain[k] = least_loss(space, budgets[k], steps_first(std::move(of_levels), points[k].assignment));
  }
  return chain;
}

std::int64_t steps_of_size(std::int64_t steps, std::size_t sizes) {
  if (sizes == 1) return steps;
  return std::max<std::int64_t>(1, 3 * steps / (2 * static_cast<std::int64_t>(sizes)));
}

}  // namespace galapagos
