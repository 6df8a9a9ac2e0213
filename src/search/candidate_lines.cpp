#include "candidate_lines.hpp"

#include <galapagos/core/json.hpp>

namespace galapagos {

std::string candidate_lines(const SearchSpace& space, const Population& population) {
  std::string text;
  for (std::size_t i = 0; i < population.islands.size(); ++i) {
    for (const MeasuredStage& stage : population.islands[i].measured) {
      for (const Measurement& one : stage.candidates) {
        Json line;
        line["generation"] = population.generation;
        line["island"] = i;
        line["stage"] = stage.stage + 1;
        line["tokens"] = stage.tokens;
        line["origin"] = name_of(one.origin);
        line["fitness"] = one.fitness;
        if (space.has_end_losses()) {
          line["predicted"] = space.predicted_loss(one.assignment);
          line["surrogate"] = one.expected;
        }
        line["levels"] = space.of_every_module(one.assignment);
        text += line.dump() + "\n";
      }
    }
  }
  return text;
}

}  // namespace galapagos
