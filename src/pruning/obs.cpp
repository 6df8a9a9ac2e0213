#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <optional>

#include <galapagos/core/error.hpp>
#include <galapagos/ops/obs.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/obs.hpp>

namespace galapagos {
namespace {

constexpr int most_attempts = 5;

std::int64_t columns_of(const ObsProblem& problem) {
  return problem.hessian->rows();
}

/// Which structures are still there, by their first names, and the order in which they go.
struct Ledger {
  explicit Ledger(std::int64_t structures) : left(static_cast<std::size_t>(structures)) {
    std::iota(left.begin(), left.end(), 0);
  }

  void remove(std::int64_t position, double score) {
    order.push_back(static_cast<std::int32_t>(left[static_cast<std::size_t>(position)]));
    loss.push_back((loss.empty() ? 0.0 : loss.back()) + score / 2);
    left.erase(left.begin() + position);
  }

  std::vector<std::int64_t> left;
  std::vector<std::int32_t> order;
  std::vector<double> loss;
};

bool remove_columns(const ops::Context& context, ops::ObsState& state, std::int64_t count, Ledger& ledger) {
  std::vector<std::int64_t> removed;
  std::vector<double> scores;
  if (!ops::obs_remove_columns(context, state, count, removed, scores)) return false;
  double loss = ledger.loss.empty() ? 0.0 : ledger.loss.back();
  for (std::size_t i = 0; i < removed.size(); ++i) {
    auto& name = ledger.left[static_cast<std::size_t>(removed[i])];
    ledger.order.push_back(static_cast<std::int32_t>(name));
    ledger.loss.push_back(loss += scores[i] / 2);
    name = -1;
  }
  std::erase(ledger.left, -1);
  return true;
}

bool remove_structures(const ops::Context& context, const ObsProblem& problem, ops::ObsState& state,
                       std::int64_t count, Ledger& ledger) {
  const std::int64_t structures = columns_of(problem) / problem.unit;
  const std::int64_t groups = problem.round > 0 ? structures / problem.round : 0;
  std::vector<double> scores;
  for (std::int64_t done = 0; done < count; ++done) {
    if (!ops::obs_structure_scores(context, state, problem.unit, scores)) return false;
    // In rounds, a group that has given a structure in this round has to wait for the next.
    std::vector<bool> waiting(static_cast<std::size_t>(groups), false);
    if (groups > 0) {
      const std::size_t begun =
          ledger.order.size() / static_cast<std::size_t>(groups) * static_cast<std::size_t>(groups);
      for (std::size_t i = begun; i < ledger.order.size(); ++i) {
        waiting[static_cast<std::size_t>(ledger.order[i] / problem.round)] = true;
      }
    }
    std::int64_t best = -1;
    for (std::size_t g = 0; g < scores.size(); ++g) {
      if (groups > 0 && waiting[static_cast<std::size_t>(ledger.left[g] / problem.round)]) continue;
      if (best < 0 || scores[g] < scores[static_cast<std::size_t>(best)]) best = static_cast<std::int64_t>(g);
    }
    if (!ops::obs_remove_structure(context, state, problem.unit, best)) return false;
    ledger.remove(best, scores[static_cast<std::size_t>(best)]);
  }
  return true;
}

/// One attempt with one damping; nothing where M was not positive definite.
std::optional<ObsSummary> attempt(const ops::Context& context, const ObsProblem& problem,
                                  double relative_damping, bool wide, const LevelSink& sink) {
  const std::int64_t n = columns_of(problem);
  ops::ObsState state;
  state.columns = n;
  state.rows = problem.weight->columns();
  state.weight = copy_of(problem.weight, context.device(), "the weight of " + problem.name);
  state.inverse = copy_of(problem.hessian, context.device(), "the inverse Hessian of " + problem.name);
  ObsSummary summary;
  summary.relative_damping = relative_damping;
  summary.dead_columns = ops::obs_damp(context, state, relative_damping);
  if (!ops::invert_spd(context, state.inverse, wide)) return std::nullopt;

  Ledger ledger(n / problem.unit);
  std::int64_t level = 0;
  for (const std::int64_t target : problem.removed) {
    const std::int64_t count = target - static_cast<std::int64_t>(ledger.order.size());
    const bool done = problem.unit == 1 ? remove_columns(context, state, count, ledger)
                                        : remove_structures(context, problem, state, count, ledger);
    if (!done) return std::nullopt;
    std::vector<std::int64_t> kept;
    for (const std::int64_t structure : ledger.left) {
      for (std::int64_t i = 0; i < problem.unit; ++i) kept.push_back(structure * problem.unit + i);
    }
    const Tensor weight = state.weight->slice(0, state.columns);
    if (!ops::all_finite(context, weight)) return std::nullopt;
    sink(++level, kept, weight);
  }
  summary.order = std::move(ledger.order);
  summary.loss = std::move(ledger.loss);
  return summary;
}

}  // namespace

ObsSummary structured_obs(const ops::Context& context, const ObsProblem& problem, const LevelSink& sink) {
  double damping = problem.relative_damping;
  for (std::int64_t tries = 1; tries <= most_attempts; ++tries) {
    if (auto summary = attempt(context, problem, damping, tries > 1, sink)) {
      summary->attempts = tries;
      return std::move(*summary);
    }
    damping = damping > 0 ? damping * 10 : 1e-3;
  }
  throw NumericalError(
      fmt::format("the Hessian is not positive definite, even with a relative damping of {:g}", damping / 10),
      problem.name, "use more or other calibration data, or a larger --rel-damp");
}

}  // namespace galapagos
