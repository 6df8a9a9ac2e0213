#include "learned_start.hpp"

#include "finalists.hpp"
#include "gradient_start.hpp"

#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/front.hpp>

namespace galapagos {
namespace {

/// The levels of some sizes as the run's folder keeps them: of one as an object, of several in a list.
std::string to_text(const std::vector<Relaxation>& learned, std::size_t sizes) {
  if (sizes == 1) return learned.front().to_json();
  Json list = Json::array();
  for (const Relaxation& one : learned) list.push_back(Json::parse(one.to_json()));
  return list.dump();
}

std::vector<Relaxation> from_text(const std::string& text, const SearchSetup& setup) {
  std::vector<Relaxation> learned;
  if (text.empty()) return learned;
  const std::string where = (setup.options.output / "levels.json").string();
  const Json json = Json::parse(text, nullptr, false);
  if (setup.budgets.size() == 1 || !json.is_array() || json.size() > setup.budgets.size())
    return {Relaxation::from_json(text, setup.space, where)};
  for (const Json& one : json) learned.push_back(Relaxation::from_json(one.dump(), setup.space, where));
  return learned;
}

class LearnedStart {
 public:
  LearnedStart(const Communicator& comm, const SearchSetup& setup, const MeasureGradient& gradient,
               Population& start, std::optional<Recorder>& recorder,
               const std::function<std::optional<std::string>()>& interrupted, PhaseTimes& times)
      : comm_(comm),
        setup_(setup),
        gradient_(gradient),
        start_(start),
        recorder_(recorder),
        interrupted_(interrupted),
        times_(times) {}

  /// Where the first island of a size begins.
  Assignment& first(std::size_t size) { return start_.islands[size].elites.front().assignment; }
  /// Of all sizes, that of the smallest model first.
  std::vector<Relaxation> learn();
  /// Whether that was done by an earlier run.
  bool learned_before() const { return learned_before_; }
  /// Where all islands begin with what was learned.
  std::vector<Assignment> starts(const std::vector<Relaxation>& learned) const;

 private:
  std::size_t sizes() const { return setup_.budgets.size(); }

  const Communicator& comm_;
  const SearchSetup& setup_;
  const MeasureGradient& gradient_;
  Population& start_;
  std::optional<Recorder>& recorder_;
  const std::function<std::optional<std::string>()>& interrupted_;
  PhaseTimes& times_;
  bool learned_before_ = false;
};

std::vector<Relaxation> LearnedStart::learn() {
  std::string saved;
  agree_at_root(comm_, [&] { saved = recorder_->learned(); });
  saved = comm_.broadcast_string(saved);
  std::vector<Relaxation> learned = agree_on(comm_, [&] { return from_text(saved, setup_); });
  learned_before_ = true;
  for (std::size_t turn = 0; turn < sizes(); ++turn) {
    const std::size_t size = sizes() - 1 - turn;
    EvolutionOptions options = setup_.options.evolution;
    options.relaxation.steps = steps_of_size(options.relaxation.steps, sizes());
    if (learned.size() <= turn) {
      learned.push_back(turn == 0 ? relaxed(first(size))
                                  : moved(setup_.space, setup_.budgets[size], learned.back()));
    }
    if (learned[turn].step == options.relaxation.steps) continue;
    learned_before_ = false;
    const LevelLearning learning{gradient_,
                                 [&](const Relaxation& levels) {
                                   learned[turn] = levels;
                                   recorder_->learn(to_text(learned, sizes()), start_);
                                 },
                                 interrupted_};
    const Relaxation begin = learned[turn];
    learned[turn] = learn_levels(comm_, setup_.space, setup_.budgets[size], options, setup_.pools, begin,
                                 learning, &times_);
  }
  return learned;
}

std::vector<Assignment> LearnedStart::starts(const std::vector<Relaxation>& learned) const {
  EvolutionOptions of_size = setup_.options.evolution;
  of_size.islands /= static_cast<std::int64_t>(sizes());
  std::vector<Assignment> all(start_.islands.size());
  for (std::size_t turn = 0; turn < sizes(); ++turn) {
    const std::size_t size = sizes() - 1 - turn;
    const auto found = assignments_of(setup_.space, setup_.budgets[size], of_size, learned[turn]);
    for (std::size_t i = 0; i < found.size(); ++i) all[i * sizes() + size] = found[i];
  }
  return all;
}

}  // namespace

std::vector<EndLosses> start_by_gradient(const Communicator& comm, const SearchSetup& setup,
                                         const MeasureGradient& gradient, const MeasureLosses& measure,
                                         Population& start, std::optional<Recorder>& recorder,
                                         const std::function<std::optional<std::string>()>& interrupted,
                                         PhaseTimes& times) {
  LearnedStart learning(comm, setup, gradient, start, recorder, interrupted, times);
  const std::vector<Relaxation> learned = learning.learn();
  const std::vector<Assignment> found = agree_on(comm, [&] { return learning.starts(learned); });
  const std::size_t sizes = setup.budgets.size();
  // A search that was killed after this begins at what it has chosen.
  bool chosen = learning.learned_before();
  std::vector<Assignment> compared;
  for (std::size_t size = 0; size < sizes; ++size) {
    compared.push_back(learning.first(size));
    compared.push_back(found[size]);
  }
  for (std::size_t island = 0; island < found.size(); ++island)
    chosen = chosen && start.islands[island].elites.front().assignment == found[island];
  std::vector<EndLosses> losses;
  for (std::size_t size = 0; size < sizes; ++size)
    losses.push_back(losses_near(setup.space, setup.budgets[size], learned[sizes - 1 - size]));
  if (chosen) return losses;
  const Finalists finalists(comm, std::move(compared), comparison_draw(setup), setup.options.fitness, measure,
                            interrupted, "while starts are compared", &times);
  const std::vector<double> fitness = finalists.fitness();
  for (std::size_t size = 0; size < sizes; ++size) {
    const double before = fitness[2 * size], after = fitness[2 * size + 1];
    // The two lie far apart, so that their difference on few tokens says little: what was learned from many
    // more is kept unless it is worse for sure.
    const bool better = std::isfinite(after) && !finalists.surely_better(2 * size, 2 * size + 1);
    if (comm.is_root()) {
      log_info("levels learned by gradient{}: fitness {:.6g} on {} tokens, before {:.6g}{}",
               sizes == 1 ? "" : fmt::format(" for a sparsity of {}", setup.options.targets[size]), after,
               human_count(static_cast<std::uint64_t>(setup.options.evolution.compare_tokens)), before,
               better ? "" : ": the islands begin as before");
    }
    if (!better) losses[size].clear();
    for (std::size_t island = size; better && island < found.size(); island += sizes)
      start.islands[island].elites.front().assignment = found[island];
  }
  agree_at_root(comm, [&] { recorder->begin(start); });
  return losses;
}

}  // namespace galapagos
