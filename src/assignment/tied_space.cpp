#include <fmt/format.h>
#include <optional>
#include <utility>

#include <galapagos/assignment/tied_space.hpp>
#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

/// A module that stands for some experts, of which this is the first.
ModuleChoices standing_for(const ModuleChoices& expert) {
  ModuleChoices module = expert;
  module.id.expert = no_expert;
  return module;
}

bool same_levels(const ModuleChoices& a, const ModuleChoices& b) {
  if (a.kept.size() != b.kept.size()) return false;
  for (std::size_t level = 0; level < a.kept.size(); ++level)
    if (a.kept.count(level) != b.kept.count(level)) return false;
  return true;
}

void add(const ModuleChoices& expert, ModuleChoices& module) {
  for (std::size_t level = 0; level < module.parameters.size(); ++level) {
    module.parameters[level] += expert.parameters[level];
    if (!module.end_loss.empty()) module.end_loss[level] += expert.end_loss[level];
    module.gone[level] = module.gone[level] && expert.gone[level];
  }
}

}  // namespace

SearchSpace tied_space(SearchSpace space, ExpertTie tie) {
  if (tie == ExpertTie::free) return space;
  std::vector<ModuleChoices> modules = std::exchange(space.modules, {});
  SearchSpace tied = space;
  space.modules = std::move(modules);
  std::optional<std::size_t> together;  // the module that stands for the experts before
  std::int64_t layer = -1;
  const ModuleChoices* first = nullptr;  // of them
  for (const ModuleChoices& module : space.modules) {
    if (module.id.expert == no_expert) {
      tied.follows.push_back(tied.modules.size());
      tied.modules.push_back(module);
      continue;
    }
    const bool joins = together && (tie == ExpertTie::uniform || module.id.layer == layer);
    layer = module.id.layer;
    if (!joins) {
      together = tied.modules.size();
      first = &module;
      tied.modules.push_back(standing_for(module));
    } else if (same_levels(module, tied.modules[*together])) {
      add(module, tied.modules[*together]);
    } else {
      throw UsageError(
          fmt::format("{} and {} have not the same levels", name_of(module.id), name_of(first->id)),
          "--experts", "give free, or the database of a model whose experts are of one width");
    }
    tied.follows.push_back(*together);
  }
  if (!together)
    throw UsageError("there are no experts in this model", "--experts", "leave it out, or give a mixture");
  tied.whole = std::make_shared<const SearchSpace>(std::move(space));
  return tied;
}

}  // namespace galapagos
