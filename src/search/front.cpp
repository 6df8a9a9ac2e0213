#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
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

std::vector<FrontPoint> choose_front(const std::vector<double>& sparsities,
                                     const std::vector<Budget>& budgets,
                                     const std::vector<Assignment>& finalists,
                                     const std::vector<double>& fitness) {
  std::vector<FrontPoint> front;
  for (std::size_t k = 0; k < sparsities.size(); ++k) {
    FrontPoint point{sparsities[k], {}, INFINITY};
    for (std::size_t i = 0; i < finalists.size(); ++i) {
      if (!(fitness[i] < point.fitness) || !budgets[k].met_by(finalists[i])) continue;
      point.assignment = finalists[i];
      point.fitness = fitness[i];
    }
    if (!std::isfinite(point.fitness)) {
      throw NumericalError(fmt::format("no candidate of sparsity {} has a finite fitness", sparsities[k]),
                           "search", "use --precision fp32, or other calibration data");
    }
    front.push_back(std::move(point));
  }
  return front;
}

std::int64_t further_steps(std::int64_t steps, std::size_t sizes) {
  return std::max<std::int64_t>(
      1, steps / (2 * std::max<std::int64_t>(1, static_cast<std::int64_t>(sizes) - 1)));
}

}  // namespace galapagos
