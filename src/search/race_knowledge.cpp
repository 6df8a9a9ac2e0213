#include "limits.hpp"
#include "streams.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include <galapagos/search/race_knowledge.hpp>

namespace galapagos {
namespace {

// How far from what is expected to be best an assignment may be moved into a budget, as in Breeding.
constexpr double temperature = 0.25;
// An assignment that takes so much of a limit needs nothing added.
constexpr double used = 0.98;

/// Assignments with what was measured of them.
struct Known {
  const Archive& archive;
  std::vector<Assignment> assignments;  // those measured on more blocks first
};

/// Whether it meets the budget and makes use of it; those made for a smaller one do not.
bool fills(const Budget& budget, const Assignment& assignment) {
  if (!budget.met_by(assignment)) return false;
  for (const BudgetRule& rule : budget.rules()) {
    if (rule.exact || static_cast<double>(rule.cost(assignment)) >= used * static_cast<double>(rule.limit))
      return true;
  }
  Assignment same = assignment;
  const Limits limits(budget, same);
  for (std::size_t i = 0; i < limits.size(); ++i) {
    if (limits.larger(i)) return false;
  }
  return true;
}

/// The best first; the first of `known` is what all are compared with. Those that have no block in common
/// with it are left out.
std::vector<Assignment> ranked(const Archive& archive, const std::vector<Assignment>& known) {
  struct Difference {
    const Assignment* assignment;
    LossDifference found;
  };
  std::vector<Difference> all;
  double sum = 0, squares = 0, noise = 0, count = 0;
  for (const Assignment& one : known) {
    const LossDifference found = archive.difference(one, known.front());
    if (found.blocks == 0 || !std::isfinite(found.mean)) continue;
    all.push_back({&one, found});
    if (&one == &known.front() || !std::isfinite(found.variance)) continue;
    sum += found.mean;
    squares += found.mean * found.mean;
    noise += found.variance;
    ++count;
  }
  GainBelief prior{0, INFINITY};
  if (count > 1) {
    const double mean = sum / count, variance = (squares - sum * mean) / (count - 1);
    // True differences are taken to vary by a tenth at least of what measured ones vary by.
    prior = {mean, std::max(variance - noise / count, variance / 10)};
  }
  std::vector<std::pair<double, const Assignment*>> order;
  for (const Difference& one : all) {
    const bool reference = one.assignment == &known.front();
    order.emplace_back(reference ? 0 : prior.after(one.found.mean, one.found.variance).mean, one.assignment);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Assignment> best;
  for (const auto& [loss, assignment] : order) best.push_back(*assignment);
  return best;
}

/// What all stages of the heats say of levels.
Surrogate learned(const SearchSpace& space, const Archive& archive, const std::vector<MeasuredHeat>& heats,
                  const std::vector<TokenDraw>& blocks) {
  std::vector<MeasuredStage> stages;
  for (const MeasuredHeat& measured : heats) {
    const std::int64_t block = measured.heat.block;
    MeasuredStage& stage =
        stages.emplace_back(MeasuredStage{0, std::ssize(blocks[static_cast<std::size_t>(block)].tokens), {}});
    for (const Trial& trial : measured.heat.trials)
      stage.candidates.push_back({trial.assignment, archive.mean(trial.assignment, block), 0, trial.origin});
  }
  SurrogateMoments moments;
  learn(space, stages, moments);
  return fit(space, moments);
}

/// The best `most` for one budget.
std::vector<Assignment> candidates_of(const SearchSpace& space, const Budget& budget,
                                      const EvolutionOptions& options, const Known& known,
                                      const Surrogate& surrogate, std::size_t most) {
  std::vector<Assignment> filling, others;
  for (const Assignment& one : known.assignments) (fills(budget, one) ? filling : others).push_back(one);
  std::vector<Assignment> found;
  if (!filling.empty()) found = ranked(known.archive, filling);
  if (found.size() > most) found.resize(most);
  std::set<Assignment> there(found.begin(), found.end());
  const std::vector<Assignment> none;
  for (std::size_t i = 0; i < std::min(others.size(), most) && found.size() < most; ++i) {
    const EndLosses losses =
        space.has_end_losses() ? corrected_end_losses(space, surrogate, others[i]) : EndLosses();
    const Breeding breeding{budget, others[i], none, losses, temperature};
    RandomStream random = stream(options.seed, 0, 0, static_cast<std::int64_t>(i), Draw::migration);
    auto moved = moved_into(breeding, random);
    if (!moved || known.archive.has(*moved) || !there.insert(*moved).second) continue;
    found.push_back(std::move(*moved));
  }
  return found;
}

}  // namespace

RaceKnowledge knowledge_of(const SearchSpace& space, std::span<const Budget> budgets,
                           const EvolutionOptions& options, const std::vector<TokenDraw>& blocks,
                           const std::vector<MeasuredTrial>& trials) {
  RaceKnowledge knowledge;
  knowledge.challengers.resize(static_cast<std::size_t>(options.islands));
  if (trials.empty()) return knowledge;
  Archive archive(blocks);
  Known known{archive, {}};
  for (const MeasuredTrial& one : trials) {  // block by block
    if (!archive.has(one.trial.assignment)) known.assignments.push_back(one.trial.assignment);
    archive.add(one.trial.assignment, one.block, one.sums);
    if (knowledge.heats.empty() || knowledge.heats.back().heat.block != one.block)
      knowledge.heats.push_back({{0, 0, one.block, {}, {}}, {}});
    knowledge.heats.back().heat.trials.push_back(one.trial);
    knowledge.heats.back().sums.push_back(one.sums);
  }
  std::stable_sort(known.assignments.begin(), known.assignments.end(),
                   [&](const Assignment& a, const Assignment& b) {
                     const std::int64_t of_a = archive.blocks_of(a), of_b = archive.blocks_of(b);
                     return of_a != of_b ? of_a > of_b : a < b;
                   });
  std::erase_if(known.assignments, [&](const Assignment& one) { return !std::isfinite(archive.mean(one)); });
  const Surrogate surrogate =
      space.has_end_losses() ? learned(space, archive, knowledge.heats, blocks) : Surrogate();
  for (std::size_t k = 0; k < budgets.size(); ++k) {
    std::vector<std::size_t> islands;
    for (std::size_t i = k; i < knowledge.challengers.size(); i += budgets.size()) islands.push_back(i);
    if (islands.empty()) continue;
    const auto most = islands.size() * static_cast<std::size_t>(options.offspring);
    const std::vector<Assignment> found = candidates_of(space, budgets[k], options, known, surrogate, most);
    for (std::size_t c = 0; c < found.size(); ++c)
      knowledge.challengers[islands[c % islands.size()]].push_back({found[c], Origin::immigrant, 0});
  }
  return knowledge;
}

}  // namespace galapagos
