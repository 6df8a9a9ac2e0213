#include "island_comparison.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/resume.hpp>

namespace galapagos {
namespace {

/// Places 0 to `count` - 1 that are dealt to this rank.
std::vector<std::size_t> own_of(const Crew& crew, std::size_t count) {
  std::vector<std::size_t> own;
  for (auto i = static_cast<std::size_t>(crew.all.rank()); i < count;
       i += static_cast<std::size_t>(crew.all.size()))
    own.push_back(i);
  return own;
}

/// Brings values that are dealt over the ranks to all of them. Nothing on all ranks where any of them does
/// not say that its own are `fine`: its notice of failure may come later than these.
std::optional<std::vector<double>> bring_together(Crew& crew, bool fine, const std::vector<double>& mine,
                                                  std::size_t count) {
  std::vector<double> given = {fine ? 1.0 : 0.0};
  given.insert(given.end(), mine.begin(), mine.end());
  crew.tell(std::as_bytes(std::span(given)));
  if (!crew.finish()) return std::nullopt;
  const auto value = [&](std::size_t rank, std::size_t place) {
    double found = 0;
    std::copy_n(
        crew.from(static_cast<int>(rank)).begin() + static_cast<std::ptrdiff_t>(place * sizeof(double)),
        sizeof(double), std::as_writable_bytes(std::span(&found, 1)).begin());
    return found;
  };
  const auto ranks = static_cast<std::size_t>(crew.all.size());
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (value(rank, 0) != 1.0) return std::nullopt;
  }
  std::vector<double> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = value(i % ranks, 1 + i / ranks);
  return all;
}

}  // namespace

std::optional<Comparison> compare_islands(Crew& crew, const Population& population, const StageTokens& tokens,
                                          const Evaluator& evaluator, const std::function<bool()>& stop) {
  const auto parent = [&](std::size_t island) {
    return population.islands[island].elites.front().assignment;
  };
  std::vector<Assignment> parents;
  for (const std::size_t island : own_of(crew, population.islands.size())) parents.push_back(parent(island));
  std::vector<double> mine;
  bool fine = !stop();
  if (fine && !parents.empty()) {
    fine = false;
    crew.board.attempt([&] {
      const PhaseScope evaluating = crew.phase("evaluating");
      const auto found = evaluator.fitness(parents.front(), parents, tokens, stop);
      if (!found) return;
      mine = *found;
      fine = true;
    });
  }
  const auto fitness = bring_together(crew, fine, mine, population.islands.size());
  if (!fitness) return std::nullopt;
  Comparison comparison{*fitness, {}};
  if (!std::isfinite(comparison.fitness[comparison.best()])) {  // so on all ranks
    crew.board.attempt([&] {
      throw NumericalError(fmt::format("no island's best has a finite fitness on the common tokens in "
                                       "generation {}",
                                       population.generation),
                           "search", "use --precision fp32, or other calibration data");
    });
    return std::nullopt;
  }
  if (evaluator.extra_items == 0) return comparison;
  mine.clear();
  for (const std::size_t item : own_of(crew, evaluator.extra_items)) {
    if (stop()) break;
    const PhaseScope evaluating = crew.phase("evaluating");
    crew.board.attempt([&] { mine.push_back(evaluator.extra(parent(comparison.best()), item)); });
  }
  const auto extra = bring_together(crew, !crew.board.failed(), mine, evaluator.extra_items);
  if (!extra) return std::nullopt;
  comparison.extra = *extra;
  return comparison;
}

Comparison compare_assignments(const Communicator& comm, const std::vector<Assignment>& assignments,
                               const StageTokens& tokens, const Evaluator& evaluator,
                               const std::function<std::optional<std::string>()>& interrupted,
                               const std::string& when, PhaseTimes* times) {
  Population population;
  for (const Assignment& assignment : assignments) {
    IslandState state;
    state.elites.push_back({assignment, 0.0});
    population.islands.push_back(std::move(state));
  }
  const std::size_t values = 1 + std::max(assignments.size(), evaluator.extra_items);
  Crew crew(comm, std::ssize(assignments), values * sizeof(double), times);
  const auto comparison = compare_islands(crew, population, tokens, evaluator, [&] {
    if (const auto reason = interrupted()) {
      crew.board.attempt(
          [&] { throw StoppedEarly(fmt::format("stopped by {} {}", *reason, when), "search", go_on); });
    }
    return crew.board.failed();
  });
  crew.abandon();
  crew.board.settle();
  return *comparison;
}

}  // namespace galapagos
