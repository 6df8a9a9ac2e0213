#include <algorithm>

#include <galapagos/search/evolution_options.hpp>

namespace galapagos {

std::string name_of(StrategyKind strategy) {
  switch (strategy) {
    case StrategyKind::random:
      return "random";
    case StrategyKind::sensitivity:
      return "sensitivity";
    default:
      return "evolution";
  }
}

bool trains(const EvolutionOptions& options) {
  return std::any_of(options.stages.begin(), options.stages.end(),
                     [](const SelectionStage& stage) { return stage.training_tokens > 0; });
}

}  // namespace galapagos
