#include <cmath>

#include <galapagos/search/population.hpp>

namespace galapagos {

std::size_t Comparison::best() const {
  if (chosen) return *chosen;
  std::size_t best = 0;
  for (std::size_t i = 1; i < fitness.size(); ++i) {
    if (fitness[i] < fitness[best] || (std::isnan(fitness[best]) && !std::isnan(fitness[i]))) best = i;
  }
  return best;
}

}  // namespace galapagos
