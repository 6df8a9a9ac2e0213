#include "true_latency.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/asleep.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/search/start.hpp>

namespace galapagos {
namespace {

constexpr double fine_start = 0.01;  // of what was expected
constexpr int most_starts = 5;       // that are timed
constexpr double odd_table = 1.5;    // a whole model and its parts: then they are of two machines

/// "21.3 ms, 5.2 % more than".
std::string beside(std::int64_t whole, std::int64_t other) {
  const double share = 100 * (static_cast<double>(whole) / static_cast<double>(other) - 1);
  return fmt::format("{}, {:.1f} % {} than", latency_text(whole), std::abs(share),
                     share < 0 ? "less" : "more");
}

}  // namespace

bool TrueLatency::too_slow(std::int64_t whole) const {
  return static_cast<double>(whole) > (1 + fine_end) * static_cast<double>(goal_.most);
}

bool TrueLatency::leaves_room(std::int64_t whole) const {
  return static_cast<double>(whole) < (1 - fine_end) * static_cast<double>(goal_.most);
}

const WholeRow* TrueLatency::find(const LatencyTable& table, const WholeRow& row) const {
  const auto same = [&](const WholeRow& other) {
    return other.phase == row.phase && other.shape == row.shape &&
           whole_latency(other).parts == whole_latency(row).parts;
  };
  const auto found = std::find_if(table.wholes.begin(), table.wholes.end(), same);
  return found == table.wholes.end() ? nullptr : &*found;
}

std::string TrueLatency::text() const {
  LatencyTable all = table_;
  for (const WholeRow& row : saved_.wholes)
    if (find(table_, row) == nullptr) all.wholes.push_back(row);
  return all.text();
}

WholeLatency TrueLatency::time(const Communicator& comm, const Assignment& assignment,
                               const std::string& what, double doubted) {
  const LatencyPhase phase = asked_.phase();
  WholeRow row;
  row.shape = whole_shape(setup_.space, assignment);
  row.phase = phase;
  row.parts = static_cast<double>(goal_.costs.sum(assignment)) * 1e-9;
  row.conditions = *table_.conditions(phase);
  const WholeRow* known = find(table_, row);
  if (known == nullptr && (known = find(saved_, row)) != nullptr) table_.wholes.push_back(*known);
  if (known != nullptr) return whole_latency(*known);
  double seconds = 0;
  agree_at_root_asleep(comm, [&] {
    HfConfig model = setup_.config;
    model.layer_shapes = setup_.space.shapes(setup_.config, assignment);
    const auto once = [&] { return setup_.options.timer(context_, model, *setup_.whole.timing, phase); };
    seconds = once();
    if (seconds * 1e9 > doubted) seconds = std::min(seconds, once());
    if (!(std::isfinite(seconds) && seconds > 0))
      throw FailureError(fmt::format("{} seconds of a whole model", seconds), "search", "report this");
  });
  row.seconds = static_cast<double>(std::llround(comm.broadcast_value(seconds) * 1e9)) * 1e-9;
  table_.wholes.push_back(row);
  const WholeLatency found = whole_latency(row);
  if (comm.is_root())
    log_info("{} timed whole ({}): {} the sum of its parts, {}", what, name_of(phase),
             beside(found.whole, found.parts), latency_text(found.parts));
  if (folder_ != nullptr) agree_at_root(comm, [&] { folder_->write_text("latency.csv", text()); });
  return found;
}

void TrueLatency::make_goal(const Communicator& comm, const std::optional<WholeLatency>& timed) {
  goal_ = agree_on(comm, [&] { return latency_goal(setup_.space, asked_.of_latency(), table_, timed); });
}

void TrueLatency::fit_given(const Communicator& comm, SearchSetup& setup) {
  Assignment& given = setup.options.evolution.start.given;
  const WholeLatency timed = time(comm, given, "the start", (1 + fine_end) * static_cast<double>(goal_.most));
  make_goal(comm, timed);
  if (!too_slow(timed.whole))  // its costs are rounded module by module
    goal_.most = std::max(goal_.most, timed.whole + std::ssize(given));
  agree(comm, [&] {
    const Budget& budget = setup.budgets.front() = make_budget(setup.space, asked_, goal_);
    if (budget.met_by(given)) return;
    const auto moved = moved_into(setup.space, budget, given, {}, true);
    const bool by_sums = goal_.costs.sum(given) <= goal_.most;
    if (!by_sums || moved.empty() || !too_slow(timed.whole))
      make_start(setup.space, budget, setup.options.start);
    log_info("{} is too slow when it is timed whole, and made smaller", setup.options.start);
    given = moved.front();
  });
}

void TrueLatency::fit_start(const Communicator& comm, const std::string& saved, SearchSetup& setup) {
  if (!asked_.by_latency()) return;
  const SearchSpace& space = setup.space;
  if (!setup.whole.timing) {
    if (comm.is_root())
      log_info("whole models are not timed, sums of parts count: {}{}", setup.whole.untimed,
               setup.options.time_whole
                   ? "; to meet the target in truth, measure the table as this run computes, "
                     "or add what it took elsewhere as rows of kind whole"
                   : "");
    agree(comm, [&] {
      goal_ = latency_goal(space, asked_.of_latency(), read_latency_table(asked_.latency_table));
    });
    return;
  }
  agree(comm, [&] {
    table_ = read_latency_table(asked_.latency_table);
    if (!saved.empty()) saved_ = parse_latency_table(saved, setup.options.output / "latency.csv");
    goal_ = latency_goal(space, asked_.of_latency(), table_);
  });
  const WholeLatency dense = time(comm, Assignment(space.modules.size(), 0), "the unpruned model");
  if (const double odd = static_cast<double>(dense.whole) / static_cast<double>(dense.parts);
      comm.is_root() && (odd > odd_table || odd < 1 / odd_table))
    log_warning(
        "the unpruned model takes {} the sum of its parts: the table may be of another machine; "
        "measure it here, with 'galapagos profile'",
        beside(dense.whole, dense.parts));
  make_goal(comm, std::nullopt);
  if (setup.options.evolution.start.kind == StartKind::given) {
    fit_given(comm, setup);
  } else {
    Assignment before;
    bool settled = false;
    for (int turn = 0; turn < most_starts; ++turn) {
      const Assignment start = agree_on(comm, [&] {
        const EvolutionOptions& evolution = setup.options.evolution;
        setup.budgets.front() = make_budget(space, asked_, goal_);
        return start_of_island(space, setup.budgets.front(), evolution.start, evolution.seed, 0);
      });
      settled = start == before;
      if (settled) break;
      const auto expected = static_cast<double>(goal_.expected(start));
      const WholeLatency timed = time(comm, start, "the start", (1 + fine_start) * expected);
      make_goal(comm, timed);
      settled = std::abs(static_cast<double>(timed.whole) - expected) <= fine_start * expected;
      if (settled) break;
      before = start;
    }
    if (!settled && comm.is_root())
      log_warning(
          "{} starts were timed, and none took what its parts had let expect: does something else run "
          "here?",
          most_starts);
    agree(comm, [&] { setup.budgets.front() = make_budget(space, asked_, goal_); });
  }
  setup.timed = text();
}

}  // namespace galapagos
