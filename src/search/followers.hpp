#pragma once

#include <galapagos/comm/notice.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/search/evolution.hpp>
#include <galapagos/search/racing.hpp>
#include <galapagos/search/relaxed_model.hpp>

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
    MeasureLosses losses;
    MeasureLosses choices;  ///< negative log-likelihoods of the questions' tokens
    std::function<double(const Assignment& assignment, std::size_t item)> extra;
    MeasureGradient gradient;
  };

  /// Collective over the shards. Both must outlive this.
  Followers(const Communicator& of_replica, const Work& work);

  /// On the root: the same work, with the others (if there are any) taking part. Throws only what all shards
  /// have agreed on.
  Work led() const;
  /// On the root: whether another shard was asked to stop.
  bool asked_to_stop() { return asked_to_stop_.given(); }
  /// On the root, after work that failed too.
  void end();
  /// On the others: works until the root says end(), then throws where work has failed, as on the root.
  void follow(PhaseTimes& times, const std::function<bool()>& stop_requested);

 private:
  const Communicator& comm_;
  const Work& work_;
  Notice asked_to_stop_;
};

}  // namespace galapagos
