#include "finalists.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/failure_board.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/search/gains.hpp>

namespace galapagos {
namespace {

constexpr double sure = 0.9;

}  // namespace

Finalists::Finalists(const Communicator& comm, std::vector<Assignment> assignments, TokenDraw draw,
                     const Fitness& fitness, const MeasureLosses& losses,
                     const std::function<std::optional<std::string>()>& interrupted, const std::string& when,
                     PhaseTimes* times)
    : assignments_(std::move(assignments)), blocks_{std::move(draw)}, fitness_(fitness), archive_(blocks_) {
  const std::size_t segments = segments_of(blocks_.front()), ranks = static_cast<std::size_t>(comm.size()),
                    rounds = (assignments_.size() + ranks - 1) / ranks;
  std::vector<double> mine(rounds * segments + 1, 0.0);
  FailureBoard board(comm);
  const std::function<bool()> stop = [&] {
    if (const auto reason = interrupted()) {
      board.attempt(
          [&] { throw StoppedEarly(fmt::format("stopped by {} {}", *reason, when), "search", go_on); });
    }
    return board.failed();
  };
  board.attempt([&] {
    const PhaseScope evaluating(times, "evaluating");
    std::vector<Assignment> own;
    for (auto i = static_cast<std::size_t>(comm.rank()); i < assignments_.size(); i += ranks)
      own.push_back(assignments_[i]);
    if (stop()) return;
    if (!own.empty()) {
      const auto found = losses(own.front(), own, blocks_.front(), stop);
      if (!found) return;
      for (std::size_t i = 0; i < own.size(); ++i) {
        const std::vector<double> sums = segment_sums((*found)[i], blocks_.front());
        std::copy(sums.begin(), sums.end(), mine.begin() + static_cast<std::ptrdiff_t>(i * segments));
      }
    }
    mine.back() = 1;
  });
  const PhaseScope waiting(times, "waiting");
  const std::vector<double> all = comm.all_gather(std::span<const double>(mine));
  bool complete = true;
  for (std::size_t rank = 0; rank < ranks; ++rank)
    complete = complete && all[(rank + 1) * mine.size() - 1] == 1;
  board.settle();
  if (!complete) throw FailureError("a rank did not measure its part", "search", "report this as a defect");
  for (std::size_t i = 0; i < assignments_.size(); ++i) {
    const double* from = all.data() + (i % ranks) * mine.size() + (i / ranks) * segments;
    archive_.add(assignments_[i], 0, {from, from + segments});
  }
}

std::vector<double> Finalists::fitness() const {
  std::vector<double> found;
  for (const Assignment& assignment : assignments_)
    found.push_back(row_of(fitness_.kind).finish(archive_.mean(assignment)));
  return found;
}

bool Finalists::surely_better(std::size_t one, std::size_t other) const {
  const double mean = archive_.mean(assignments_[one]), other_mean = archive_.mean(assignments_[other]);
  if (!std::isfinite(mean) || !std::isfinite(other_mean)) return std::isfinite(mean);
  const LossDifference found = archive_.difference(assignments_[one], assignments_[other]);
  if (!(found.variance > 0)) return found.mean < 0;
  return GainBelief{found.mean, found.variance}.better() > sure;
}

}  // namespace galapagos
