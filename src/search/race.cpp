#include "streams.hpp"

#include <algorithm>
#include <cmath>

#include <galapagos/search/mutation.hpp>
#include <galapagos/search/race.hpp>

namespace galapagos {
namespace {

// A challenger is dropped or takes the incumbent's place where it is as sure as this that this is right.
constexpr double sure = 0.9;
// Blocks on which a challenger and the incumbent are both measured before it can take its place, however sure
// one block is: a few documents on which a part matters more than on all others make it so. And before their
// mean decides.
constexpr std::int64_t least_blocks = 2, most_blocks = 12;
constexpr int tries_in_a_way = 20, tries_of_mutation = 100;
constexpr std::size_t parts_of_knowledge = 8;
// Islands differ on purpose: in how far from what is expected to be best they go.
constexpr double temperatures[] = {0.5, 0.25, 1, 2};
// No way to breed has a smaller share, in units of an even one.
constexpr double even_share = 0.25;

}  // namespace

Race::Race(const SearchSpace& space, const Budget& budget, const EvolutionOptions& options,
           const std::vector<TokenDraw>& blocks, std::int64_t island, Assignment start, EndLosses near)
    : space_(space),
      budget_(budget),
      options_(options),
      blocks_(blocks),
      island_(island),
      near_(std::move(near)),
      incumbent_(std::move(start)),
      archive_(blocks) {
  known_.insert(incumbent_);
}

void Race::take_in(std::span<const MeasuredHeat* const> heats) {
  std::vector<MeasuredStage> stages;
  for (const MeasuredHeat* measured : heats) {
    const Heat& heat = measured->heat;
    const TokenDraw& draw = blocks_[static_cast<std::size_t>(heat.block)];
    MeasuredStage& stage = stages.emplace_back(MeasuredStage{0, std::ssize(draw.tokens), {}});
    for (std::size_t i = 0; i < heat.trials.size(); ++i) {
      const Trial& trial = heat.trials[i];
      archive_.add(trial.assignment, heat.block, measured->sums[i]);
      stage.candidates.push_back(
          {trial.assignment, archive_.mean(trial.assignment, heat.block), 0, trial.origin});
    }
  }
  if (near_.empty() && space_.has_end_losses() && !stages.empty()) learn(space_, stages, moments_);
}

void Race::know(std::span<const MeasuredHeat> heats, const std::vector<Trial>& challengers) {
  // In several parts, so that what was learned from one is judged by the next, see learn().
  std::vector<const MeasuredHeat*> part;
  for (std::size_t i = 0; i < heats.size(); ++i) {
    part.push_back(&heats[i]);
    if (i + 1 < heats.size() && part.size() * parts_of_knowledge < heats.size()) continue;
    take_in(part);
    part.clear();
  }
  for (const Trial& challenger : challengers) {
    known_.insert(challenger.assignment);
    if (challenger.assignment != incumbent_) enter(challenger);
  }
}

GainBelief Race::belief(const Challenger& challenger) const {
  const LossDifference found = archive_.difference(challenger.assignment, incumbent_);
  const GainBelief prior = gains_.prior(challenger.origin, challenger.expected);
  return found.blocks > 0 ? prior.after(found.mean, found.variance) : prior;
}

Heat Race::propose(std::int64_t generation, const News& news) {
  take_in(news.heats);
  const std::int64_t count = std::ssize(blocks_);
  Heat heat{
      island_, generation, (generation - 1 + island_ * count / options_.islands) % count, incumbent_, {}};
  if (!archive_.has(incumbent_, heat.block) && !under_way_.contains({incumbent_, heat.block}))
    heat.trials.push_back({incumbent_, Origin::parent, 0});
  const std::vector<Assignment> immigrants = fitted(news.immigrants, generation);
  for (const Assignment& immigrant : immigrants) {
    known_.insert(immigrant);
    if (immigrant != incumbent_) enter({immigrant, Origin::immigrant, 0});
  }
  add_going_on(immigrants, heat);
  heat.first_new = heat.trials.size();
  add_new(news, heat);
  for (const Trial& trial : heat.trials) under_way_.insert({trial.assignment, heat.block});
  return heat;
}

/// Immigrants that fill the budget here, which may be another one than where they come from.
std::vector<Assignment> Race::fitted(std::vector<Assignment> immigrants, std::int64_t generation) const {
  std::vector<Assignment> found;
  for (std::size_t i = 0; i < immigrants.size(); ++i) {
    RandomStream random =
        stream(options_.seed, island_, generation, static_cast<std::int64_t>(i), Draw::migration);
    const std::vector<bool> none(immigrants[i].size(), false);
    const auto any = [&](const auto& moves) { return random.index(moves.size()); };
    if (restore(budget_, immigrants[i], none, any)) found.push_back(std::move(immigrants[i]));
  }
  return found;
}

void Race::enter(const Trial& trial) {
  const bool there = std::any_of(challengers_.begin(), challengers_.end(),
                                 [&](const Challenger& one) { return one.assignment == trial.assignment; });
  if (!there) challengers_.push_back({trial.assignment, trial.origin, trial.expected});
}

/// Challengers on a further block: immigrants of this generation first, then by what they may gain.
void Race::add_going_on(const std::vector<Assignment>& immigrants, Heat& heat) {
  std::vector<std::pair<double, const Challenger*>> order;
  for (const Challenger& one : challengers_) {
    if (archive_.has(one.assignment, heat.block) || under_way_.contains({one.assignment, heat.block}))
      continue;
    const bool arrived = std::find(immigrants.begin(), immigrants.end(), one.assignment) != immigrants.end();
    order.emplace_back(arrived ? INFINITY : belief(one).expected_improvement(), &one);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  const auto room = static_cast<std::size_t>((options_.offspring + 1) / 2);
  for (std::size_t i = 0; i < std::min(room, order.size()); ++i) {
    const Challenger& one = *order[i].second;
    heat.trials.push_back({one.assignment, one.origin, one.expected});
  }
}

/// By expected improvement, but none without any.
std::map<Origin, double> Race::shares(const std::vector<Origin>& ways) const {
  const double even = 1.0 / static_cast<double>(ways.size());
  std::map<Origin, double> shares;
  double sum = 0;
  for (const Origin way : ways) sum += shares[way] = gains_.prior(way).expected_improvement();
  for (auto& [way, share] : shares) {
    share = std::isfinite(sum) && sum > 0 ? even_share * even + (1 - even_share) * share / sum : even;
  }
  return shares;
}

void Race::add_new(const News& news, Heat& heat) {
  const bool by_surrogate = near_.empty() && space_.has_end_losses();
  const Surrogate surrogate = by_surrogate ? fit(space_, moments_) : Surrogate();
  const EndLosses losses = by_surrogate ? corrected_end_losses(space_, surrogate, incumbent_) : near_;
  const auto expected = [&](const Assignment& assignment) {
    if (by_surrogate) return expected_loss(space_, surrogate, assignment);
    double sum = 0;
    for (std::size_t i = 0; i < near_.size(); ++i) sum += near_[i][static_cast<std::size_t>(assignment[i])];
    return sum;
  };
  std::vector<Assignment> mates;
  for (const Challenger& one : challengers_) {
    if (archive_.has(one.assignment) && belief(one).better() > 0.5) mates.push_back(one.assignment);
  }
  for (const Assignment& other : news.incumbents) {
    if (other != incumbent_) mates.push_back(other);
  }
  const Breeding breeding{
      budget_, incumbent_, mates, losses,
      temperatures[static_cast<std::size_t>(island_ + island_ / 4) % std::size(temperatures)]};
  std::vector<Origin> ways = ways_to_breed(breeding);
  const std::vector<Origin>& asked = options_.racing.ways;
  std::erase_if(ways, [&](Origin way) { return std::find(asked.begin(), asked.end(), way) == asked.end(); });
  if (ways.empty()) ways = {Origin::mutation};  // as long as there is no mate, or no loss is known
  shares_ = shares(ways);
  const std::int64_t measured_again =
      std::count_if(heat.trials.begin(), heat.trials.end(),
                    [](const Trial& trial) { return trial.origin != Origin::parent; });
  for (std::int64_t individual = 0; individual < options_.offspring - measured_again; ++individual) {
    RandomStream random = stream(options_.seed, island_, heat.generation, individual, Draw::offspring);
    double drawn = random.next() / 4294967296.0;
    Origin way = Origin::mutation;
    for (const auto& [one, share] : shares_) {
      way = one;
      if ((drawn -= share) < 0) break;
    }
    for (int attempt = 0; attempt < tries_in_a_way + tries_of_mutation; ++attempt) {
      if (attempt == tries_in_a_way) way = Origin::mutation;
      const auto child = breed(way, breeding, random);
      if (!child || archive_.has(*child) || !known_.insert(*child).second) continue;
      heat.trials.push_back({*child, way, expected(*child) - expected(incumbent_)});
      break;
    }
  }
}

/// What a new candidate lost beyond the incumbent that it was bred from.
void Race::learn_gain(const Heat& heat, const Trial& trial) {
  const LossDifference found = archive_.difference(trial.assignment, heat.incumbent);
  if (found.blocks > 0) gains_.add(trial.origin, found.mean, found.variance, trial.expected);
}

Standing Race::accept(const MeasuredHeat& measured) {
  const Heat& heat = measured.heat;
  const MeasuredHeat* own = &measured;
  take_in(std::span(&own, 1));
  evaluations_ += std::ssize(heat.trials);
  Standing standing;
  double fresh = 0;
  for (std::size_t i = 0; i < heat.trials.size(); ++i) {
    const Trial& trial = heat.trials[i];
    under_way_.erase({trial.assignment, heat.block});
    if (i < heat.first_new) continue;
    learn_gain(heat, trial);
    if (trial.assignment != incumbent_) enter(trial);
    standing.mean += archive_.mean(trial.assignment, heat.block) - archive_.mean(heat.incumbent, heat.block);
    ++fresh;
  }
  if (fresh > 0) standing.mean /= fresh;
  standing.improved = judge();
  standing.island = island_;
  standing.generation = heat.generation;
  standing.trials = std::ssize(heat.trials);
  standing.evaluations = evaluations_;
  standing.challengers = std::ssize(challengers_);
  standing.blocks = archive_.blocks_of(incumbent_);
  standing.incumbent = incumbent_;
  standing.loss = archive_.mean(incumbent_);
  standing.shares = shares_;
  return standing;
}

/// Drops challengers and puts the best into the incumbent's place, where that is sure enough. Whether it did.
bool Race::judge() {
  const std::int64_t most = std::min(most_blocks, std::ssize(blocks_));
  // An incumbent without a finite loss gives way to whoever has one.
  const bool broken = archive_.has(incumbent_) && !std::isfinite(archive_.mean(incumbent_));
  std::optional<Assignment> winner;
  double best = INFINITY;
  std::vector<std::pair<double, Challenger>> staying;
  for (const Challenger& one : challengers_) {
    const bool measured = archive_.has(one.assignment);
    const double loss = archive_.mean(one.assignment);
    if (measured && !std::isfinite(loss)) continue;
    const GainBelief found = belief(one);
    const std::int64_t blocks = archive_.difference(one.assignment, incumbent_).blocks;
    const bool decided = blocks >= most, known = blocks >= std::min(least_blocks, most);
    const double better = found.better(), mean = broken ? loss : found.mean;
    const bool wins = broken || (found.mean < 0 && ((better >= sure && known) || decided));
    if (measured && wins && mean < best) {
      winner = one.assignment;
      best = mean;
    }
    if (better < 1 - sure || (decided && !wins)) continue;
    staying.emplace_back(found.expected_improvement(), one);
  }
  std::stable_sort(staying.begin(), staying.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  challengers_.clear();
  for (const auto& [improvement, one] : staying) {
    if (one.assignment == winner || std::ssize(challengers_) >= options_.offspring) continue;
    challengers_.push_back(one);
  }
  if (winner) incumbent_ = *winner;
  return winner.has_value();
}

std::vector<Assignment> Race::best_challengers(std::size_t most) const {
  std::vector<std::pair<double, const Challenger*>> order;
  for (const Challenger& one : challengers_) {
    if (std::isfinite(archive_.mean(one.assignment))) order.emplace_back(belief(one).mean, &one);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Assignment> best;
  for (std::size_t i = 0; i < std::min(most, order.size()); ++i) best.push_back(order[i].second->assignment);
  return best;
}

}  // namespace galapagos
