#include <algorithm>
#include <fmt/format.h>
#include <map>

#include <galapagos/core/error.hpp>
#include <galapagos/search/expert_scores.hpp>

namespace galapagos {

Assignment without_experts(const SearchSpace& space, const Budget& budget,
                           const std::vector<double>& scores) {
  std::map<std::int64_t, std::vector<std::size_t>> layers;  // their experts, those of least score first
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    const ModuleChoices& module = space.modules[i];
    if (module.id.expert == no_expert || module.last() == 0) continue;
    if (!module.gone.back())
      throw UsageError(fmt::format("the last level of {} keeps columns", name_of(module.id)), "--by",
                       "make the database with levels that end with all columns removed");
    layers[module.id.layer].push_back(i);
  }
  if (layers.empty())
    throw UsageError("there are no experts to remove", "--by", "give a mixture of experts and its database");
  std::size_t most = 0;
  for (auto& [layer, experts] : layers) {
    std::ranges::stable_sort(experts, {}, [&](std::size_t i) { return scores[i]; });
    most = std::max(most, experts.size());
  }
  Assignment assignment(space.modules.size(), 0);
  for (std::size_t turn = 0; turn + 1 < most; ++turn) {
    for (const auto& [layer, experts] : layers) {
      if (budget.met_by(assignment)) return assignment;
      if (turn + 1 < experts.size()) assignment[experts[turn]] = space.modules[experts[turn]].last();
    }
  }
  if (budget.met_by(assignment)) return assignment;
  throw UsageError(
      fmt::format("with one expert left in every layer {} parameters are left, still above the target",
                  space.parameters(assignment)),
      "--by", "let less go, or assign by end-loss");
}

}  // namespace galapagos
