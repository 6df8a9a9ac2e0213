#include "followers.hpp"

#include <exception>

#include <galapagos/comm/agreement.hpp>

namespace galapagos {
namespace {

enum class Task : std::int32_t { fitness, extra, end };

/// What goes from the root to the other shards before each task.
struct Order {
  Task task = Task::end;
  std::int32_t code = 0;  ///< of the end
  std::uint64_t item = 0;
  std::uint64_t assignments = 0;
};

void share(const Communicator& comm, std::vector<Assignment>& assignments, std::size_t count) {
  assignments.resize(count);
  for (Assignment& assignment : assignments) comm.broadcast(assignment);
}

void share(const Communicator& comm, TokenDraw& draw) {
  comm.broadcast(draw.sequences);
  comm.broadcast(draw.tokens);
  comm.broadcast(draw.offsets);
}

}  // namespace

Followers::Work Followers::led() const {
  if (comm_.size() == 1) return work_;
  Work work;
  work.fitness = [this](const Assignment& base, std::span<const Assignment> candidates,
                        const StageTokens& tokens, const std::function<bool()>& stop) {
    std::vector<Assignment> all = {base};
    all.insert(all.end(), candidates.begin(), candidates.end());
    comm_.broadcast_value(Order{Task::fitness, 0, 0, all.size()});
    share(comm_, all, all.size());
    StageTokens same = tokens;
    share(comm_, same.compared);
    share(comm_, same.training);
    return work_.fitness(base, candidates, tokens, stop);
  };
  work.extra = [this](const Assignment& assignment, std::size_t item) {
    std::vector<Assignment> all = {assignment};
    comm_.broadcast_value(Order{Task::extra, 0, item, 1});
    share(comm_, all, 1);
    return work_.extra(assignment, item);
  };
  return work;
}

void Followers::follow(PhaseTimes& times) const {
  const PhaseScope waiting(&times, "waiting");
  std::exception_ptr own;
  const auto attempt = [&](const auto& work) {
    const PhaseScope evaluating(&times, "evaluating");
    try {
      work();
    } catch (const FailedElsewhere&) {
      // The shard that failed keeps its error, and the root ends the search.
    } catch (...) {
      own = std::current_exception();
    }
  };
  while (true) {
    const auto order = comm_.broadcast_value(Order());
    if (order.task == Task::end) {
      if (order.code == static_cast<std::int32_t>(ExitCode::done)) return;
      if (own) std::rethrow_exception(own);
      throw FailedElsewhere(static_cast<ExitCode>(order.code), 0);
    }
    std::vector<Assignment> all;
    share(comm_, all, order.assignments);
    if (order.task == Task::extra) {
      attempt([&] { work_.extra(all.front(), order.item); });
      continue;
    }
    StageTokens tokens;
    share(comm_, tokens.compared);
    share(comm_, tokens.training);
    attempt([&] { work_.fitness(all.front(), std::span(all).subspan(1), tokens, {}); });
  }
}

void Followers::end(ExitCode code) const {
  if (comm_.size() == 1) return;
  comm_.broadcast_value(Order{Task::end, static_cast<std::int32_t>(code), 0, 0});
}

}  // namespace galapagos
