#include "followers.hpp"

#include <exception>

#include <galapagos/comm/agreement.hpp>

namespace galapagos {
namespace {

enum class Task : std::int32_t { fitness, losses, choices, extra, gradient, end };

/// What goes from the root to the other shards before each task.
struct Order {
  Task task = Task::end;
  std::uint64_t item = 0;
  std::uint64_t assignments = 0;
};

void share(const Communicator& comm, std::vector<Assignment>& assignments, std::size_t count) {
  assignments.resize(count);
  for (Assignment& assignment : assignments) comm.broadcast(assignment);
}

void share(const Communicator& comm, RelaxedPoint& point) {
  comm.broadcast(point.below);
  comm.broadcast(point.share);
}

void share(const Communicator& comm, TokenDraw& draw) {
  comm.broadcast(draw.sequences);
  comm.broadcast(draw.tokens);
  comm.broadcast(draw.offsets);
}

}  // namespace

Followers::Followers(const Communicator& of_replica, const Work& work)
    : comm_(of_replica), work_(work), asked_to_stop_(of_replica) {}

Followers::Work Followers::led() const {
  if (comm_.size() == 1) return work_;
  // What is not agreed on by the shards ends all ranks: the others may be in the middle of anything.
  Work work;
  work.fitness = [this](const Assignment& base, std::span<const Assignment> candidates,
                        const StageTokens& tokens, const std::function<bool()>& stop) {
    std::optional<std::vector<double>> found;
    run_or_abort([&] {
      std::vector<Assignment> all = {base};
      all.insert(all.end(), candidates.begin(), candidates.end());
      comm_.broadcast_value(Order{Task::fitness, 0, all.size()});
      share(comm_, all, all.size());
      StageTokens same = tokens;
      share(comm_, same.compared);
      share(comm_, same.training);
      found = work_.fitness(base, candidates, tokens, stop);
    });
    return found;
  };
  const auto led_losses = [this](Task task, const MeasureLosses& measure) -> MeasureLosses {
    return [this, task, &measure](const Assignment& base, std::span<const Assignment> candidates,
                                  const TokenDraw& draw, const std::function<bool()>& stop) {
      std::optional<TokenLosses> found;
      run_or_abort([&] {
        std::vector<Assignment> all = {base};
        all.insert(all.end(), candidates.begin(), candidates.end());
        comm_.broadcast_value(Order{task, 0, all.size()});
        share(comm_, all, all.size());
        TokenDraw same = draw;
        share(comm_, same);
        found = measure(base, candidates, draw, stop);
      });
      return found;
    };
  };
  work.losses = led_losses(Task::losses, work_.losses);
  work.choices = led_losses(Task::choices, work_.choices);
  work.extra = [this](const Assignment& assignment, std::size_t item) {
    double found = 0;
    run_or_abort([&] {
      std::vector<Assignment> all = {assignment};
      comm_.broadcast_value(Order{Task::extra, item, 1});
      share(comm_, all, 1);
      found = work_.extra(assignment, item);
    });
    return found;
  };
  work.gradient = [this](const RelaxedPoint& point, const TokenDraw& draw,
                         const std::function<bool()>& stop) {
    std::optional<RelaxedGradient> found;
    run_or_abort([&] {
      comm_.broadcast_value(Order{Task::gradient, 0, 0});
      RelaxedPoint same = point;
      TokenDraw same_draw = draw;
      share(comm_, same);
      share(comm_, same_draw);
      found = work_.gradient(point, draw, stop);
    });
    return found;
  };
  return work;
}

void Followers::follow(PhaseTimes& times, const std::function<bool()>& stop_requested) {
  const PhaseScope waiting(&times, "waiting");
  const std::function<bool()> tell = [&] {
    if (stop_requested()) asked_to_stop_.give();
    return false;  // the root decides
  };
  std::exception_ptr failure;
  const auto attempt = [&](const std::function<void()>& work, const char* phase = "evaluating") {
    const PhaseScope evaluating(&times, phase);
    try {
      run_or_abort(work);
    } catch (...) {
      failure = std::current_exception();  // the root has it too and ends the search
    }
  };
  while (true) {
    tell();
    const auto order = comm_.broadcast_value(Order());
    if (order.task == Task::end) break;
    if (order.task == Task::gradient) {
      RelaxedPoint point;
      TokenDraw draw;
      share(comm_, point);
      share(comm_, draw);
      attempt([&] { work_.gradient(point, draw, tell); }, "learning levels");
      continue;
    }
    std::vector<Assignment> all;
    share(comm_, all, order.assignments);
    if (order.task == Task::extra) {
      attempt([&] { work_.extra(all.front(), order.item); });
      continue;
    }
    StageTokens tokens;
    share(comm_, tokens.compared);
    if (order.task == Task::losses || order.task == Task::choices) {
      const MeasureLosses& measure = order.task == Task::losses ? work_.losses : work_.choices;
      attempt([&] { measure(all.front(), std::span(all).subspan(1), tokens.compared, tell); });
      continue;
    }
    share(comm_, tokens.training);
    attempt([&] { work_.fitness(all.front(), std::span(all).subspan(1), tokens, tell); });
  }
  asked_to_stop_.settle();
  if (failure) std::rethrow_exception(failure);
}

void Followers::end() {
  comm_.broadcast_value(Order{Task::end, 0, 0});
  asked_to_stop_.settle();
}

}  // namespace galapagos
