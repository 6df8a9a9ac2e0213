#pragma once

#include <galapagos/core/phase_times.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/search/evolution.hpp>

namespace galapagos {

/// A replica that several ranks hold: the root takes part in the evolution, the other shards do with it what
/// it is asked to measure.
class Followers {
 public:
  /// What every shard is to do; collective over the shards of a replica.
  struct Work {
    std::function<std::optional<std::vector<double>>(
        const Assignment& base, std::span<const Assignment> candidates, const StageTokens& tokens,
        const std::function<bool()>& stop)>
        fitness;
    std::function<double(const Assignment& assignment, std::size_t item)> extra;
  };

  /// Both must outlive this.
  Followers(const Communicator& of_replica, const Work& work) : comm_(of_replica), work_(work) {}

  /// On the root: the same work, with the others (if there are any) taking part.
  Work led() const;
  /// On the others: works until the root says end(), then ends as the root has: FailedElsewhere where that
  /// was a failure, or this rank's own error where it began here.
  void follow(PhaseTimes& times) const;
  /// On the root.
  void end(ExitCode code) const;

 private:
  const Communicator& comm_;
  const Work& work_;
};

}  // namespace galapagos
