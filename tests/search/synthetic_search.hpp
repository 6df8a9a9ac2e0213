#pragma once

#include "assignment/small_space.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <galapagos/search/evolution.hpp>

namespace galapagos::test {

/// A search without a model: its fitness is a smooth function of the levels and of the tokens drawn, so that
/// a wrong draw or a candidate out of place shows.
struct SyntheticSearch {
  SearchSpace space = even_space(5, 4);
  Budget budget = Budget::of_level(space, 2);
  EvolutionOptions options;
  TokenSet pool;
  std::size_t extra_items = 5;

  SyntheticSearch();
  /// Of as many islands as options has now.
  void topology(const std::string& name, const std::string& migrants, std::int64_t interval);
  /// Another one than options.strategy names.
  std::function<std::unique_ptr<Strategy>(const SyntheticSearch&)> own_strategy;

  std::unique_ptr<Strategy> strategy() const {
    return own_strategy ? own_strategy(*this) : make_strategy(space, budget, options);
  }
  Population start() const { return initial_population(*strategy(), options.islands); }
};

double synthetic_fitness(const Assignment& assignment, const TokenDraw& draw);

/// What happens beside the search's own work; all may be empty.
struct Hooks {
  std::function<void()> before_candidate;  ///< on every rank, before each candidate it evaluates
  std::function<void()> before_extra;
  std::function<void()> before_observer;  ///< on rank 0
  std::function<void(const Assignment& base, const std::vector<Assignment>& candidates,
                     const TokenDraw& draw)>
      seen;  ///< each call of the evaluator
  std::function<double(const Assignment& assignment, const TokenDraw& draw)> fitness;  ///< in place of ours
  std::function<std::optional<std::string>()> interrupted;
  bool training = false;                  ///< stages train on the pool that candidates are compared on
  decltype(Evaluator::fitness) evaluate;  ///< in place of all our evaluation
};

/// What a search came to. `said` and `populations` on rank 0 only.
struct Outcome {
  int code = 0;
  bool own = false;     ///< the error is this rank's own, to be printed
  std::string message;  ///< of the error
  Population last;
  std::vector<std::string> said;  ///< by the observer, everything but times
  std::vector<Population> populations;
};

/// Everything of a population but times, to the last bit.
std::string text_of(const Population& population);

/// Collective. Never throws where evolve() throws an Error that all ranks agreed on.
Outcome run_search(const Communicator& comm, const SyntheticSearch& search, const Hooks& hooks = {});
Outcome run_search(const Communicator& comm, const SyntheticSearch& search, Population start,
                   const Hooks& hooks = {});

}  // namespace galapagos::test
