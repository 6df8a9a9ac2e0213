#include "proposals.hpp"

#include "streams.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <set>

namespace galapagos {
namespace {

// Standard deviation of the logarithm of a module's losses, that much more with every try in vain.
constexpr double sigma_step = 0.02;
constexpr std::int64_t tries_for_each = 15;
// Further away from the parent, where little was measured, what is expected is too good to be true.
constexpr std::int64_t most_changed = 4;

std::int64_t changed(const Assignment& one, const Assignment& other) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < one.size(); ++i) count += one[i] != other[i] ? 1 : 0;
  return count;
}

/// The modules of the part that has most of them.
std::size_t most_of_a_part(const SearchSpace& space) {
  const std::vector<std::size_t> begins = space.part_begins();
  std::size_t most = 1;
  for (std::size_t p = 0; p + 1 < begins.size(); ++p) most = std::max(most, begins[p + 1] - begins[p]);
  return most;
}

/// The assignment of least loss with every level of distance from `centre` priced, at the least of some
/// prices at which no more than most_changed modules differ; nothing where none is high enough.
std::optional<Assignment> least_loss_near(const SearchSpace& space, const Budget& budget,
                                          const EndLosses& losses, const Assignment& centre, double unit) {
  for (double price = 0;; price = std::max(2 * price, unit / 64)) {
    EndLosses priced = losses;
    for (std::size_t i = 0; i < priced.size(); ++i) {
      for (std::size_t level = 0; level < priced[i].size(); ++level)
        priced[i][level] += price * std::abs(static_cast<double>(level) - centre[i]);
    }
    Assignment found = least_loss(space, budget, priced);
    if (changed(found, centre) <= most_changed) return found;
    if (price > 1e3 * unit) return std::nullopt;
  }
}

}  // namespace

std::vector<Assignment> propose(const SearchSpace& space, const Budget& budget,
                                const EvolutionOptions& options, const IslandGeneration& turn,
                                const Assignment& parent, const Experience& experience) {
  const EndLosses losses = corrected_end_losses(space, experience.surrogate, parent);
  const double unit = end_loss_scale(space) / static_cast<double>(most_of_a_part(space));
  std::vector<Assignment> proposals;
  std::set<Assignment> known = {parent};
  for (std::int64_t individual = 0; individual < options.proposals; ++individual) {
    RandomStream random = stream(options.seed, turn.island, turn.generation, individual, Draw::proposal);
    // The optimum itself is proposed once, by the first island.
    const std::int64_t first = turn.island == 0 && individual == 0 ? 0 : 1;
    for (std::int64_t attempt = first; attempt < tries_for_each; ++attempt) {
      const double sigma = sigma_step * static_cast<double>(attempt);
      auto one = least_loss_near(space, budget, perturbed(losses, sigma, random), parent, unit);
      if (!one || is_measured(experience.moments, *one) || !known.insert(*one).second) continue;
      proposals.push_back(std::move(*one));
      break;
    }
  }
  return proposals;
}

}  // namespace galapagos
