#include "streams.hpp"

#include <cstdlib>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/start.hpp>

namespace galapagos {
namespace {

void check_budget(const Budget& budget, const Assignment& assignment, const std::string& path) {
  for (const BudgetRule& rule : budget.rules()) {
    const std::int64_t cost = rule.cost(assignment);
    if (rule.met_by(cost)) continue;
    const std::string found =
        rule.unit.empty()
            ? fmt::format("{} instead of at most {}", rule.text(cost), rule.text(rule.limit))
            : fmt::format("{} {} too {}, {} instead of {}{}",
                          human_count(static_cast<std::uint64_t>(std::abs(cost - rule.limit))), rule.unit,
                          cost > rule.limit ? "many" : "few", human_count(static_cast<std::uint64_t>(cost)),
                          rule.exact ? "" : "at most ", human_count(static_cast<std::uint64_t>(rule.limit)));
    throw UsageError(fmt::format("{} misses the target: {}", path, found), "--start",
                     "give an assignment of the same size, or another target");
  }
}

}  // namespace

std::string name_of(StartKind kind) {
  switch (kind) {
    case StartKind::sensitivity:
      return "sensitivity";
    case StartKind::given:
      return "given";
    case StartKind::gradient:
      return "gradient";
    default:
      return "uniform";
  }
}

Start make_start(const SearchSpace& space, const Budget& budget, const std::string& name) {
  const bool known = space.has_end_losses();
  if (name == "auto") return {known ? StartKind::sensitivity : StartKind::uniform};
  if (name == "uniform") return {StartKind::uniform};
  if (name == "gradient") return {StartKind::gradient};
  if (name == "sensitivity") {
    if (known) return {StartKind::sensitivity};
    throw UsageError("the database has no end losses to begin with", "--start",
                     "make it with 'galapagos database --sensitivity', or use --start uniform");
  }
  Start start{StartKind::given, read_assignment(space, name)};
  check_budget(budget, start.given, name);
  return start;
}

Assignment start_of_island(const SearchSpace& space, const Budget& budget, const Start& start,
                           std::uint64_t seed, std::int64_t island) {
  if (start.kind == StartKind::given) return start.given;
  if (start.kind == StartKind::uniform || !space.has_end_losses()) return budget.uniform();
  if (island == 0) return least_loss(space, budget);
  return least_loss(space, budget,
                    perturbed_end_losses(space, island_sigma, stream(seed, island, 0, 0, Draw::start)));
}

}  // namespace galapagos
