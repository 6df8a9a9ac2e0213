#include <algorithm>
#include <array>

#include <galapagos/search/evolution_options.hpp>

namespace galapagos {

std::string name_of(StrategyKind strategy) {
  constexpr std::array names = {"evolution", "random", "sensitivity", "racing"};
  return names.at(static_cast<std::size_t>(strategy));
}

bool trains(const EvolutionOptions& options) {
  return std::any_of(options.stages.begin(), options.stages.end(),
                     [](const SelectionStage& stage) { return stage.training_tokens > 0; });
}

}  // namespace galapagos
