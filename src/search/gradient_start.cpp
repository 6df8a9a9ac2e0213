#include "gradient_start.hpp"

#include "streams.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/failure_board.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/search/least_loss.hpp>

namespace galapagos {
namespace {

using Interrupted = std::function<std::optional<std::string>()>;

/// Whole sequences of a draw, about so many tokens in each piece.
std::vector<TokenDraw> cut(const TokenDraw& draw) {
  std::vector<TokenDraw> pieces;
  std::size_t sequence = 0;
  for (const Batch& batch : make_batches(draw.tokens, draw.offsets, piece_tokens)) {
    TokenDraw& piece = pieces.emplace_back();
    piece.tokens.assign(batch.tokens.begin(), batch.tokens.end());
    piece.offsets.assign(batch.offsets.begin(), batch.offsets.end());
    const std::size_t count = batch.offsets.size() - 1;
    for (std::size_t i = 0; i < count; ++i) piece.sequences.push_back(draw.sequences[sequence++]);
  }
  return pieces;
}

/// Says on the board that this rank is to stop, where there is a reason.
bool stopped(FailureBoard& board, const Interrupted& interrupted, const std::string& when) {
  if (const auto reason = interrupted()) {
    board.attempt(
        [&] { throw StoppedEarly(fmt::format("stopped by {} {}", *reason, when), "search", go_on); });
  }
  return board.failed();
}

/// The mean gradient over all pieces of a step, the same on all ranks; nothing where any has failed.
std::optional<RelaxedGradient> gradient_of(const Communicator& comm, const std::vector<TokenDraw>& pieces,
                                           const std::vector<RelaxedPoint>& points,
                                           const LevelLearning& learning, FailureBoard& board,
                                           std::int64_t step, PhaseTimes* times) {
  const std::size_t modules = points.front().below.size(), width = modules + 1,
                    ranks = static_cast<std::size_t>(comm.size());
  const std::size_t rounds = (pieces.size() + ranks - 1) / ranks;
  std::vector<double> mine(rounds * width + 1, 0.0);
  const std::string when = fmt::format("in step {} of learning levels", step);
  const std::function<bool()> stop = [&] { return stopped(board, learning.interrupted, when); };
  board.attempt([&] {
    const PhaseScope evaluating(times, "learning levels");
    for (std::size_t i = static_cast<std::size_t>(comm.rank()), round = 0; i < pieces.size();
         i += ranks, ++round) {
      if (stop()) return;
      if (pieces[i].predicted() == 0) continue;
      const auto found = learning.gradient(points[i], pieces[i], stop);
      if (!found) return;
      mine[round * width] = found->loss;
      std::copy(found->levels.begin(), found->levels.end(),
                mine.begin() + static_cast<std::ptrdiff_t>(round * width + 1));
    }
    mine.back() = 1;
  });
  const PhaseScope waiting(times, "waiting");
  const std::vector<double> all = comm.all_gather(std::span<const double>(mine));
  RelaxedGradient sum{0, std::vector<double>(modules, 0.0)};
  double predicted = 0;
  for (std::size_t rank = 0; rank < ranks; ++rank)
    if (all[(rank + 1) * mine.size() - 1] == 0) return std::nullopt;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const double* piece = all.data() + (i % ranks) * mine.size() + (i / ranks) * width;
    predicted += static_cast<double>(pieces[i].predicted());
    sum.loss += piece[0];
    for (std::size_t m = 0; m < modules; ++m) sum.levels[m] += piece[1 + m];
  }
  if (predicted == 0) return sum;  // only sequences of one token, which say nothing
  sum.loss /= predicted;
  for (double& slope : sum.levels) slope /= predicted;
  return sum;
}

/// Where a piece of a step is measured. Between levels a model may be far better than at either of them, so
/// that levels that were learned there would not survive rounding: every module is at one of its two levels,
/// drawn by how near it is. The slopes at both ends of the way average to the difference between its ends.
RelaxedPoint point_of(const SearchSpace& space, const EvolutionOptions& options, const Relaxation& relaxation,
                      std::size_t piece, std::size_t pieces) {
  const std::int64_t number =
      relaxation.step * static_cast<std::int64_t>(pieces) + static_cast<std::int64_t>(piece);
  return rounded_point(space, relaxation.levels, stream(options.seed, 0, number / 2, 0, Draw::rounding),
                       number % 2 == 1);
}

bool finite(const RelaxedGradient& gradient) {
  return std::isfinite(gradient.loss) && std::all_of(gradient.levels.begin(), gradient.levels.end(),
                                                     [](double value) { return std::isfinite(value); });
}

}  // namespace

Relaxation learn_levels(const Communicator& comm, const SearchSpace& space, const Budget& budget,
                        const EvolutionOptions& options, const TokenPools& pools, Relaxation begin,
                        const LevelLearning& learning, PhaseTimes* times) {
  const RelaxationOptions& relaxation = options.relaxation;
  FailureBoard board(comm);
  std::optional<Progress> progress;
  if (comm.is_root()) progress.emplace("steps of learning levels", relaxation.steps, begin.step);
  double smoothed = 0;
  while (begin.step < relaxation.steps) {
    const TokenDraw draw =
        draw_tokens(pools.compared, relaxation.tokens,
                    stream(options.seed, 0, begin.step + 1, 0, Draw::relaxation), pools.held_back);
    const std::vector<TokenDraw> pieces = cut(draw);
    std::vector<RelaxedPoint> points;
    for (std::size_t i = 0; i < pieces.size(); ++i)
      points.push_back(point_of(space, options, begin, i, pieces.size()));
    const auto gradient = gradient_of(comm, pieces, points, learning, board, begin.step + 1, times);
    if (!gradient) break;
    if (!finite(*gradient)) {  // so on all ranks
      board.attempt([&] {
        throw NumericalError(
            fmt::format("the loss or its gradient became NaN or infinite in step {}", begin.step + 1),
            "--start gradient", "use --precision fp32, another start, or other calibration data");
      });
      break;
    }
    advance(space, budget, relaxation, gradient->levels, begin);
    smoothed = smoothed == 0 ? gradient->loss : 0.8 * smoothed + 0.2 * gradient->loss;
    if (!comm.is_root()) continue;
    board.attempt([&] { learning.save(begin); });
    progress->advance(1, fmt::format("loss {:.5g}", smoothed));
  }
  board.settle();
  return begin;
}

std::vector<Assignment> assignments_of(const SearchSpace& space, const Budget& budget,
                                       const EvolutionOptions& options, const Relaxation& learned) {
  std::vector<Assignment> starts = {nearest(space, budget, learned)};
  for (std::int64_t island = 1; island < options.islands; ++island) {
    RandomStream random = stream(options.seed, island, 0, 0, Draw::start);
    EndLosses factors(space.modules.size(), {1.0});
    factors = perturbed(std::move(factors), island_sigma, random);
    std::vector<double> of_modules;
    for (const std::vector<double>& factor : factors) of_modules.push_back(factor.front());
    starts.push_back(nearest(space, budget, learned, of_modules));
  }
  return starts;
}

}  // namespace galapagos
