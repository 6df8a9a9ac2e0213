#include "heat_board.hpp"

#include <algorithm>

namespace galapagos {

void HeatBoard::add(const MeasuredTrial& trial, bool saved) {
  Generation& generation = at(trial.island, trial.generation);
  const auto index = static_cast<std::size_t>(trial.index);
  generation.trials.emplace(index, trial);
  if (saved) generation.saved[index] = true;
}

bool HeatBoard::add(const Standing& standing) {
  Generation& generation = at(standing.island, standing.generation);
  if (generation.standing) return false;
  generation.standing = standing;
  return true;
}

const HeatBoard::Generation* HeatBoard::find(std::int64_t island, std::int64_t generation) const {
  const auto& generations = islands_[static_cast<std::size_t>(island)];
  const auto found = generations.find(generation);
  return found == generations.end() ? nullptr : &found->second;
}

bool HeatBoard::saved(const Heat& heat, std::size_t trial) const {
  const Generation* found = find(heat.island, heat.generation);
  return found != nullptr && found->saved.contains(trial);
}

bool HeatBoard::fits(const Heat& heat) const {
  const Generation* found = find(heat.island, heat.generation);
  if (found == nullptr) return true;
  return std::all_of(found->saved.begin(), found->saved.end(), [&](const auto& saved) {
    const std::size_t index = saved.first;
    const MeasuredTrial& trial = found->trials.at(index);
    return index < heat.trials.size() && trial.block == heat.block &&
           trial.trial.assignment == heat.trials[index].assignment &&
           trial.trial.origin == heat.trials[index].origin;
  });
}

bool HeatBoard::measured(std::int64_t island, const Heat& heat) const {
  if (heat.trials.empty()) return true;
  const Generation* found = find(island, heat.generation);
  return found != nullptr && found->trials.size() == heat.trials.size();
}

MeasuredHeat HeatBoard::measured_heat(Heat heat) const {
  MeasuredHeat measured{std::move(heat), {}};
  if (measured.heat.trials.empty()) return measured;
  for (const auto& [index, trial] : find(measured.heat.island, measured.heat.generation)->trials)
    measured.sums.push_back(trial.sums);
  return measured;
}

bool HeatBoard::complete(std::int64_t island, std::int64_t generation) const {
  const Generation* found = find(island, generation);
  return found != nullptr && found->standing &&
         (found->forgotten || std::ssize(found->trials) == found->standing->trials);
}

bool HeatBoard::all_complete(std::int64_t generations) const {
  for (std::size_t island = 0; island < islands_.size(); ++island) {
    if (!complete(static_cast<std::int64_t>(island), generations)) return false;
  }
  return true;
}

const MeasuredHeat& HeatBoard::heat(std::int64_t island, std::int64_t generation) const {
  const Generation& found = *find(island, generation);
  if (!found.heat) {
    found.heat.emplace();
    found.heat->heat.island = island;
    found.heat->heat.generation = generation;
    for (const auto& [index, measured] : found.trials) {
      found.heat->heat.block = measured.block;
      found.heat->heat.trials.push_back(measured.trial);
      found.heat->sums.push_back(measured.sums);
    }
  }
  return *found.heat;
}

void HeatBoard::forget(std::int64_t generation) {
  for (auto& generations : islands_) {
    Generation& found = generations[generation];
    found.trials.clear();
    found.saved.clear();
    found.heat.reset();
    found.forgotten = true;
  }
}

const Standing& HeatBoard::standing(std::int64_t island, std::int64_t generation) const {
  return *find(island, generation)->standing;
}

}  // namespace galapagos
