#include "proposals.hpp"

#include "streams.hpp"

#include <algorithm>

namespace galapagos {
namespace {

// Standard deviation of the logarithm of a module's losses, that much more with every try in vain.
constexpr double sigma_step = 0.02;
constexpr std::int64_t tries_for_each = 15;

}  // namespace

std::vector<Assignment> propose(const SearchSpace& space, const Budget& budget,
                                const EvolutionOptions& options, std::int64_t island, std::int64_t generation,
                                const Assignment& parent, const Surrogate& surrogate,
                                const SurrogateMoments& moments) {
  const EndLosses losses = corrected_end_losses(space, surrogate, parent);
  std::vector<Assignment> proposals;
  const auto is_new = [&](const Assignment& one) {
    return one != parent && !is_measured(moments, one) &&
           std::find(proposals.begin(), proposals.end(), one) == proposals.end();
  };
  for (std::int64_t individual = 0; individual < options.proposals; ++individual) {
    RandomStream random = stream(options.seed, island, generation, individual, Draw::proposal);
    // The optimum itself is proposed once, by the first island.
    const std::int64_t first = island == 0 && individual == 0 ? 0 : 1;
    for (std::int64_t attempt = first; attempt < tries_for_each; ++attempt) {
      const double sigma = sigma_step * static_cast<double>(attempt);
      Assignment one = least_loss(space, budget, perturbed(losses, sigma, random));
      if (!is_new(one)) continue;
      proposals.push_back(std::move(one));
      break;
    }
  }
  return proposals;
}

}  // namespace galapagos
