#include "info_experts.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <numeric>
#include <vector>

#include <galapagos/search/rank_correlation.hpp>

namespace galapagos::app {
namespace {

struct Expert {
  ModuleId module;
  ExpertUse use;
  double loss = 0;  // of its removal, or of its last level
};

/// A sign for how many times the tokens of an even share an expert got: half of it, as much, twice, ...
char sign_of(double times) {
  constexpr std::string_view signs = ".:-=+*#%@";
  if (times <= 0) return ' ';
  const double step = 4 + std::floor(std::log2(times) + 0.5);
  return signs[static_cast<std::size_t>(std::clamp(step, 0.0, static_cast<double>(signs.size() - 1)))];
}

/// The experts with the least of some scores, up to three.
std::string least(const std::vector<Expert>& experts, const std::vector<double>& scores) {
  std::vector<std::size_t> order(experts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return scores[i]; });
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, order.size()); ++i)
    text += fmt::format("{}{}", i > 0 ? " " : "", experts[order[i]].module.expert);
  return text;
}

}  // namespace

std::string picture_of_experts(const DatabaseReader& database) {
  std::map<std::int64_t, std::vector<Expert>> layers;
  std::size_t widest = 0;
  for (const ModuleId& module : database.header().modules()) {
    if (module.expert == no_expert || !database.done(module)) continue;
    std::vector<Expert>& experts = layers[module.layer];
    experts.push_back({module, database.use(module).value(), database.loss(module).back()});
    widest = std::max(widest, experts.size());
  }
  if (layers.empty()) return {};
  std::string text = fmt::format(
      "\ntokens of each expert, as shares of an even part: + one, = - : . a half, a quarter and so on, * # % "
      "@ "
      "2, 4 and so on,\nblank none; the least; which experts have the least REAP scores and lose least when "
      "removed, and how far both agree\n{:>7} {:<{}} {:>10}  {:<14} {:<14} {:>5}\n",
      "layer", "experts", std::max<std::size_t>(widest, 7), "least", "REAP", "loss", "rho");
  for (const auto& [layer, experts] : layers) {
    double tokens = 0, fewest = INFINITY;
    std::vector<double> reap, loss;
    for (const Expert& expert : experts) {
      tokens += expert.use.tokens;
      fewest = std::min(fewest, expert.use.tokens);
      reap.push_back(expert.use.reap());
      loss.push_back(expert.loss);
    }
    std::string signs;
    for (const Expert& expert : experts)
      signs += sign_of(expert.use.tokens * static_cast<double>(experts.size()) / std::max(tokens, 1.0));
    text += fmt::format("{:>7} {:<{}} {:>10.0f}  {:<14} {:<14} {:>5.2f}\n", layer, signs,
                        std::max<std::size_t>(widest, 7), fewest, least(experts, reap), least(experts, loss),
                        rank_sums(reap, loss).correlation());
  }
  return text;
}

Json use_of_expert(const DatabaseReader& database, const ModuleId& module) {
  const ExpertUse use = database.use(module).value();
  return {{"tokens", use.tokens}, {"weights", use.weights}, {"reap", use.reap()}};
}

}  // namespace galapagos::app
