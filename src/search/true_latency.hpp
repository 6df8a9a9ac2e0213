#pragma once

#include "recorder.hpp"

#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/core/phase_times.hpp>
#include <galapagos/search/evaluator.hpp>
#include <galapagos/search/latency_goal.hpp>
#include <galapagos/search/least_loss.hpp>

namespace galapagos {

/// By what share of the target a model may be slower that is said to meet it.
inline constexpr double fine_end = 0.02;

/// Holds a search to what whole models take here, where sums of parts are not it.
class TrueLatency {
 public:
  /// `asked`: the target as it was given. The references must outlive this.
  TrueLatency(const ops::Context& context, const SizeTarget& asked, const SearchSetup& setup)
      : context_(context), asked_(asked), setup_(setup) {}

  /// Collective, before anything is made of `setup`, which is the one that this has. Times the unpruned model
  /// and the first island's start, and makes the budget again by what that took, until a start takes within a
  /// percent of what was expected. A start that was given and is too slow is made smaller. `saved`: what an
  /// earlier run has timed, as text, which is not timed again; empty where there was none. Says in the log
  /// where nothing can be timed.
  void fit_start(const Communicator& comm, const std::string& saved, SearchSetup& setup);
  /// From now on all that is timed is kept there.
  void keep_in(const RunFolder& folder) { folder_ = &folder; }

  /// What the end needs.
  struct End {
    EndLosses near;  ///< what levels lose near the start, or nothing
    const Evaluator& evaluator;
    std::optional<Recorder>& recorder;
    const std::function<std::optional<std::string>()>& interrupted;
    PhaseTimes& times;
  };
  /// Collective. Times the best that the search has found; where it misses the target by over 2 %, one near
  /// it that is expected to meet it takes its place and is timed, some times over. Records what came of it.
  void meet(const Communicator& comm, const End& end);

 private:
  bool too_slow(std::int64_t whole) const;
  bool leaves_room(std::int64_t whole) const;
  /// Collective. Nanoseconds of a model, which the log calls `what`. Where it takes more than `doubted`, it
  /// is timed twice, and the less counts: what disturbs only adds to it.
  WholeLatency time(const Communicator& comm, const Assignment& assignment, const std::string& what,
                    double doubted = INFINITY);
  const WholeRow* find(const LatencyTable& table, const WholeRow& row) const;
  std::string text() const;
  /// Collective. By the table and, where that is given, one that was just timed.
  void make_goal(const Communicator& comm, const std::optional<WholeLatency>& timed);
  void fit_given(const Communicator& comm, SearchSetup& setup);
  std::vector<Assignment> near(const Candidate& best, bool smaller, const End& end,
                               const std::vector<Candidate>& others) const;
  std::vector<double> fitness_of(const Communicator& comm, const std::vector<Assignment>& all,
                                 const End& end) const;
  void record(const Communicator& comm, const End& end, const std::optional<Candidate>& moved,
              const std::optional<WholeLatency>& timed, const Assignment& best) const;

  const ops::Context& context_;
  const SizeTarget& asked_;
  const SearchSetup& setup_;
  const RunFolder* folder_ = nullptr;
  LatencyTable table_, saved_;  // all known so far; and what is to be taken from an earlier run
  LatencyGoal goal_;
};

/// Assignments of a budget near `from`, none of whose modules is larger (or smaller, where not `smaller`)
/// than there: that of the least sum of `losses`; and, to get smaller, that of the fewest steps in all.
/// Without losses parameters stand for them.
std::vector<Assignment> moved_into(const SearchSpace& space, const Budget& budget, const Assignment& from,
                                   const EndLosses& losses, bool smaller);

}  // namespace galapagos
