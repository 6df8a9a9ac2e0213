#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <optional>

#include <galapagos/core/error.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/obs.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/obs.hpp>

namespace galapagos {
namespace {

constexpr int most_attempts = 5;

std::int64_t columns_of(const ObsProblem& problem) {
  return problem.hessian->rows();
}

/// Which structures are still there, by their first names, and the order in which they go, at what scores:
/// the one that decided and that of the weight itself.
struct Ledger {
  explicit Ledger(std::int64_t structures) : left(static_cast<std::size_t>(structures)) {
    std::iota(left.begin(), left.end(), 0);
  }

  /// Its name is still to be taken out of `left`.
  void note(std::int64_t position, double decided, double score) {
    order.push_back(static_cast<std::int32_t>(left[static_cast<std::size_t>(position)]));
    loss.push_back((loss.empty() ? 0.0 : loss.back()) + score / 2);
    decisive_loss += decided / 2;
  }

  std::vector<std::int64_t> left;
  std::vector<std::int32_t> order;
  std::vector<double> loss;
  double decisive_loss = 0;
};

bool remove_columns(const ops::Context& context, ops::ObsState& state, std::int64_t count, Ledger& ledger) {
  std::vector<std::int64_t> removed;
  std::vector<double> scores, follower_scores;
  if (!ops::obs_remove_columns(context, state, count, removed, scores, follower_scores)) return false;
  for (std::size_t i = 0; i < removed.size(); ++i) {
    ledger.note(removed[i], scores[i], state.followed() ? follower_scores[i] : scores[i]);
    ledger.left[static_cast<std::size_t>(removed[i])] = -1;
  }
  std::erase(ledger.left, -1);
  return true;
}

bool remove_structures(const ops::Context& context, const ObsProblem& problem, ops::ObsState& state,
                       std::int64_t count, Ledger& ledger) {
  const std::int64_t structures = columns_of(problem) / problem.unit;
  const std::int64_t groups = problem.round > 0 ? structures / problem.round : 0;
  std::vector<double> scores, follower_scores;
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
    if (!ops::obs_remove_structure(context, state, problem.unit, best, follower_scores)) return false;
    const double score = scores[static_cast<std::size_t>(best)];
    ledger.note(best, score, state.followed() ? follower_scores.back() : score);
    ledger.left.erase(ledger.left.begin() + best);
  }
  return true;
}

/// The state that OBS begins with: with a sensitivity that has a root R, R W decides and W follows.
ops::ObsState first_state(const ops::Context& context, const ObsProblem& problem) {
  ops::ObsState state;
  state.columns = columns_of(problem);
  state.rows = problem.weight->columns();
  state.weight = copy_of(problem.weight, context.device(), "the weight of " + problem.name);
  state.inverse = copy_of(problem.hessian, context.device(), "the inverse Hessian of " + problem.name);
  if (!problem.sensitivity || problem.sensitivity->root->data == nullptr) return state;
  state.follower = std::move(state.weight);
  state.weight = OwnedTensor(state.follower->shape, DType::f32, context.device(),
                             "the weighed weight of " + problem.name);
  const ops::Context exact = context.exact();
  ops::linear(exact, state.follower, problem.sensitivity->root, nullptr, state.weight);
  return state;
}

/// What levels cost in end loss. With D the change of the weight, S = tr(D H_d D^T) what its scores have
/// summed up to, H_d = H + damping I, and S' = tr(G' D H_d D^T) likewise of the weight that decided,
///   tr(G D H D^T) = scale (S' - damping |R D|^2 - ridge (S - damping |D|^2)),
/// since G' = R^T R = G / scale + ridge I. Columns that the damping treats otherwise (dead ones, those whose
/// weights are zero) do not change.
class EndLoss {
 public:
  /// `damped`: the state once obs_damp() has cleared dead columns.
  EndLoss(const ops::Context& context, const Sensitivity& sensitivity, const ops::ObsState& damped,
          double damping)
      : context_(context), sensitivity_(sensitivity), damping_(damping) {
    decisive_ = copy_of(damped.weight, context.device(), "the weight before pruning");
    if (damped.followed())
      followed_ = copy_of(damped.follower, context.device(), "the weight before pruning");
  }

  double at(const ops::ObsState& state, std::span<const std::int64_t> kept, const Ledger& ledger) const {
    const double loss = ledger.loss.empty() ? 0.0 : ledger.loss.back();
    double sum = undamped(ledger.decisive_loss, decisive_, kept, state.weight->slice(0, state.columns));
    if (state.followed()) {
      sum -= sensitivity_.ridge * undamped(loss, followed_, kept, state.follower->slice(0, state.columns));
    }
    return std::max(sensitivity_.scale * sum, 0.0);  // rounding must not make a loss a gain
  }

 private:
  double undamped(double loss, const Tensor& before, std::span<const std::int64_t> kept,
                  const Tensor& after) const {
    return loss - damping_ * ops::obs_change(context_, before, kept, after) / 2;
  }

  const ops::Context& context_;
  const Sensitivity& sensitivity_;
  double damping_;
  OwnedTensor decisive_, followed_;
};

/// One attempt with one damping; nothing where M was not positive definite.
std::optional<ObsSummary> attempt(const ops::Context& context, const ObsProblem& problem,
                                  double relative_damping, bool wide, const LevelSink& sink) {
  ops::ObsState state = first_state(context, problem);
  ObsSummary summary;
  summary.relative_damping = relative_damping;
  const ops::ObsDamping damping = ops::obs_damp(context, state, relative_damping, problem.least_mean);
  summary.dead_columns = damping.dead;
  if (!ops::invert_spd(context, state.inverse, wide)) return std::nullopt;
  std::optional<EndLoss> end_loss;
  if (problem.sensitivity) {
    end_loss.emplace(context, *problem.sensitivity, state, damping.added);
    summary.end_loss.push_back(0);
  }

  Ledger ledger(columns_of(problem) / problem.unit);
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
    const Tensor weight = (state.followed() ? state.follower : state.weight)->slice(0, state.columns);
    if (!ops::all_finite(context, weight)) return std::nullopt;
    if (end_loss) summary.end_loss.push_back(end_loss->at(state, kept, ledger));
    sink(++level, kept, weight);
  }
  summary.order = std::move(ledger.order);
  summary.loss = std::move(ledger.loss);
  return summary;
}

}  // namespace

std::uint64_t obs_bytes(std::int64_t columns, std::int64_t hidden, Device device, bool weighed) {
  const auto n = static_cast<std::uint64_t>(columns), rows = static_cast<std::uint64_t>(hidden);
  // An inverse that has to be tried again in fp64: a copy of the Hessian, and cuSOLVER's workspace of that
  // size. On a node, what a limit leaves of its memory has room for the copy.
  const std::uint64_t retry = device == Device::cuda ? 2 * n * n * sizeof(double) : 0;
  // The inverse and the weight; the weight that decides, and what both began with.
  return retry + n * (n + (weighed ? 4 : 1) * rows) * sizeof(float);
}

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
