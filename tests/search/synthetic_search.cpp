#include "synthetic_search.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <galapagos/comm/agreement.hpp>

namespace galapagos::test {

SyntheticSearch::SyntheticSearch() {
  options.islands = 4;
  options.generations = 6;
  options.offspring = 6;
  options.stages = {{4, 20}, {2, 30}, {1, 40}};
  options.compare_tokens = 60;
  options.eval_every = 3;
  options.seed = 17;
  topology("ring", "1", 2);
  for (std::int32_t token = 0; token < 200; ++token) {
    pool.tokens.push_back(token * 37 % 101);
    if (token % 7 == 6 || token % 31 == 30) pool.offsets.push_back(pool.tokens.size());
  }
  pool.offsets.push_back(pool.tokens.size());
}

void SyntheticSearch::topology(const std::string& name, const std::string& migrants, std::int64_t interval) {
  options.topology = make_topology(name, migrants, interval, options.islands, options.seed);
}

double synthetic_fitness(const Assignment& assignment, const TokenDraw& draw) {
  double tokens = 0;
  for (std::size_t i = 0; i < draw.tokens.size(); ++i)
    tokens += draw.tokens[i] * std::sin(static_cast<double>(i));
  double value = 0;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const auto place = static_cast<double>(i);
    value += (1.5 + std::sin(1.7 * place)) * assignment[i] * assignment[i] +
             0.2 * std::cos(tokens + place * assignment[i]);
  }
  return value;
}

std::string text_of(const Population& population) {
  std::string text = fmt::format("generation {}:", population.generation);
  for (std::size_t i = 0; i < population.islands.size(); ++i) {
    const IslandState& island = population.islands[i];
    text += fmt::format("\n  island {}: {} evaluations, {} tokens", i, island.evaluations, island.tokens);
    if (island.ranks.count > 0) {
      for (const RankSums& ranks : {island.ranks, island.surrogate_ranks})
        text += fmt::format(", ranks {} {:a} {:a} {:a}", ranks.count, ranks.both, ranks.first, ranks.second);
    }
    if (!population.reports.empty()) {
      const GenerationReport& report = population.reports[i];
      text += fmt::format(", mean {:a}, predicted {:a}, improved {}, immigrants {}", report.mean,
                          report.predicted, report.improved, report.immigrants);
    }
    if (!island.memory.empty()) text += fmt::format("\n    memory {:a}", fmt::join(island.memory, " "));
    for (const Candidate& elite : island.elites)
      text += fmt::format("\n    {:a} {}", elite.fitness, fmt::join(elite.assignment, " "));
    for (const MeasuredStage& stage : island.measured) {
      text += fmt::format("\n    stage {}, {} tokens", stage.stage, stage.tokens);
      for (const Measurement& one : stage.candidates) {
        text += fmt::format("\n      {} {:a} {:a} {}", name_of(one.origin), one.fitness, one.expected,
                            fmt::join(one.assignment, " "));
      }
    }
  }
  const SurrogateMoments& moments = population.moments;
  for (const std::vector<double>* values :
       {&moments.products, &moments.right, &moments.features, &moments.errors})
    text += fmt::format("\n  {:a}", fmt::join(*values, " "));
  text +=
      fmt::format("\n  {:a} {:a} {}", moments.losses, moments.weight, fmt::join(moments.assignments, " "));
  return text;
}

Outcome run_search(const Communicator& comm, const SyntheticSearch& search, const Hooks& hooks) {
  return run_search(comm, search, search.start(), hooks);
}

Outcome run_search(const Communicator& comm, const SyntheticSearch& search, Population start,
                   const Hooks& hooks) {
  Outcome outcome;
  Evaluator evaluator;
  evaluator.fitness = [&](const Assignment& base, std::span<const Assignment> candidates,
                          const StageTokens& tokens,
                          const std::function<bool()>& stop) -> std::optional<std::vector<double>> {
    if (hooks.seen) hooks.seen(base, {candidates.begin(), candidates.end()}, tokens.compared);
    std::vector<double> values;
    for (const Assignment& candidate : candidates) {
      if (stop()) return std::nullopt;
      if (hooks.before_candidate) hooks.before_candidate();
      values.push_back(hooks.fitness ? hooks.fitness(candidate, tokens.compared)
                                     : synthetic_fitness(candidate, tokens.compared));
    }
    return values;
  };
  if (hooks.evaluate) evaluator.fitness = hooks.evaluate;
  evaluator.extra_items = search.extra_items;
  evaluator.extra = [&](const Assignment& assignment, std::size_t item) {
    if (hooks.before_extra) hooks.before_extra();
    return static_cast<double>(item) + assignment[item % assignment.size()];
  };
  Observer observer;
  observer.generation = [&](const Population& population, std::span<const Migration> migrations) {
    if (hooks.before_observer) hooks.before_observer();
    std::string text = text_of(population);
    for (const Migration& migration : migrations)
      text += fmt::format("\n  {} from {} to {}", migration.count, migration.from, migration.to);
    outcome.said.push_back(text);
    outcome.populations.push_back(population);
  };
  observer.comparison = [&](const Population& population, const Comparison& comparison) {
    if (hooks.before_observer) hooks.before_observer();
    outcome.said.push_back(fmt::format("comparison {}: {:a}; extra {:a}; best {}", population.generation,
                                       fmt::join(comparison.fitness, " "), fmt::join(comparison.extra, " "),
                                       comparison.best()));
  };
  const std::function<std::optional<std::string>()> interrupted = [&] {
    return hooks.interrupted ? hooks.interrupted() : std::nullopt;
  };
  try {
    const auto strategy = search.strategy();
    outcome.last = evolve(comm, search.space, *strategy, search.options,
                          {search.pool, hooks.training ? search.pool : TokenSet()}, std::move(start),
                          evaluator, observer, interrupted);
  } catch (const Error& error) {
    CHECK(error.agreed());
    outcome.code = static_cast<int>(error.code());
    outcome.own = dynamic_cast<const FailedElsewhere*>(&error) == nullptr;
    outcome.message = error.what();
  }
  return outcome;
}

}  // namespace galapagos::test
