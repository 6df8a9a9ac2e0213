#pragma once

#include "dealing.hpp"

#include <span>
#include <utility>
#include <vector>

#include <galapagos/comm/exchange.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/core/progress.hpp>

namespace galapagos {

/// The ranks of a search while it runs: all of them, those that share this rank's islands, and what they tell
/// each other. Times of waiting go to a phase and to a sum of their own.
class Crew {
 public:
  /// Collective. `islands` are dealt to the ranks, `most_bytes` is what a rank tells the others at most. The
  /// times may be null.
  Crew(const Communicator& comm, std::int64_t islands, std::size_t most_bytes, PhaseTimes* times)
      : all(comm.duplicate()),
        dealing(comm.rank(), comm.size(), islands),
        group(all.split(dealing.group, comm.rank())),
        board(all),
        times_(times),
        exchange_(all, most_bytes) {}

  const Communicator all;
  const Dealing dealing;
  const Communicator group;
  FailureBoard board;

  template <typename Work>
  auto waiting(Work&& work) {
    const PhaseScope phase(times_, "waiting");
    const Stopwatch watch;
    auto result = work();
    waited_ += watch.seconds();
    return result;
  }

  /// Begins to tell all ranks `bytes`; told() and from() once finish() was true.
  void tell(std::span<const std::byte> bytes) { exchange_.start(bytes); }
  /// Waits until all ranks have told the same. All ranks of the group come to the same answer: false where a
  /// rank has failed meanwhile.
  bool finish() {
    const bool complete = waiting([&] { return exchange_.wait(board); });
    failed_ = failed_ || !complete;
    const char fine = failed_ ? 0 : 1;
    const PhaseScope agreeing = phase("waiting");
    return group.all_gather<char>(fine) == std::vector<char>(static_cast<std::size_t>(group.size()), 1);
  }
  /// Whether all have told the same already.
  bool told() { return exchange_.done(); }
  std::span<const std::byte> from(int rank) const { return exchange_.from(rank); }
  /// Collective, at the end, whatever has failed: as Exchange::abandon().
  bool abandon() {
    return waiting([&] { return exchange_.abandon(); });
  }

  PhaseScope phase(const char* name) const { return PhaseScope(times_, name); }
  /// Seconds since it was asked for last.
  double waited() { return std::exchange(waited_, 0); }

 private:
  PhaseTimes* times_;
  Exchange exchange_;
  bool failed_ = false;
  double waited_ = 0;
};

}  // namespace galapagos
