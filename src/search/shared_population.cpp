#include "shared_population.hpp"

#include "records.hpp"

#include <algorithm>
#include <exception>

namespace galapagos {

void SharedPopulation::tell(std::span<const IslandState> states, std::span<const GenerationReport> reports,
                            std::int64_t generation) {
  std::vector<std::byte> mine;
  if (crew_.group.is_root()) mine = write_records(crew_.dealing.islands, states, reports);
  crew_.tell(mine);
  pending_ = true;
  told_ = generation;
}

bool SharedPopulation::finish() {
  if (!pending_) return true;
  if (!crew_.finish()) return false;
  take_in();
  pending_ = false;
  return true;
}

void SharedPopulation::take_in_early() {
  if (crew_.all.is_root() && pending_ && crew_.told()) take_in();
}

void SharedPopulation::take_in() {
  if (known_.generation == told_) return;
  Population next;
  next.generation = known_.generation + 1;
  next.islands.resize(known_.islands.size());
  next.reports.resize(known_.islands.size());
  next.moments = std::move(known_.moments);
  if (space_.has_end_losses()) learn_from(known_.islands, next.moments);
  for (int rank = 0; rank < crew_.all.size(); ++rank) {
    read_records(crew_.from(rank), space_.modules.size(), next.islands, next.reports);
  }
  known_ = std::move(next);
  if (!crew_.all.is_root() || unpublished_) return;
  std::exception_ptr failure;
  try {  // also where another rank has failed: the generation is complete
    publish_(known_);
  } catch (...) {
    failure = std::current_exception();
  }
  unpublished_ = failure != nullptr;
  if (failure) crew_.board.attempt([&] { std::rethrow_exception(failure); });
}

std::optional<std::vector<Assignment>> SharedPopulation::immigrants(const IslandGeneration& turn) {
  std::vector<Assignment> arrived;
  const auto migrations = topology_.after(turn.generation - 1);
  if (migrations.empty()) return arrived;
  if (!finish()) return std::nullopt;
  for (const Migration& migration : migrations) {
    if (migration.to != turn.island) continue;
    const auto& elites = known_.islands[static_cast<std::size_t>(migration.from)].elites;
    for (std::size_t i = 0; i < std::min(elites.size(), static_cast<std::size_t>(migration.count)); ++i) {
      arrived.push_back(elites[i].assignment);
    }
  }
  return arrived;
}

void SharedPopulation::learn_from(const std::vector<IslandState>& islands, SurrogateMoments& moments) const {
  std::vector<MeasuredStage> all;
  for (const IslandState& island : islands)
    all.insert(all.end(), island.measured.begin(), island.measured.end());
  learn(space_, all, moments);
}

SurrogateMoments SharedPopulation::moments_for(const IslandGeneration& turn, const IslandState& state) const {
  if (!space_.has_end_losses()) return {};
  SurrogateMoments moments = known_.moments;
  if (known_.generation + 1 < turn.generation) learn_from(known_.islands, moments);
  learn(space_, state.measured, moments);
  return moments;
}

Population SharedPopulation::end() {
  if (crew_.abandon() && pending_) take_in();
  return std::move(known_);
}

}  // namespace galapagos
