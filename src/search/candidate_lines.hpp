#pragma once

#include <string>

#include <galapagos/search/evolution.hpp>

namespace galapagos {

/// A JSON line for every candidate that a stage of the population's last generation has measured, in the
/// order of islands and stages: generation, island, stage (from 1), tokens, origin, fitness, what the sum of
/// end losses and the surrogate had predicted where the space has end losses, and the levels in the order of
/// the space's modules.
std::string candidate_lines(const SearchSpace& space, const Population& population);

}  // namespace galapagos
