#include "island_comparison.hpp"
#include "streams.hpp"
#include "true_latency.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>

namespace galapagos {
namespace {

constexpr int most_rounds = 6;
constexpr const char* when = "while whole models are timed";

/// Losses where no module is larger than in `from`, or none smaller.
EndLosses one_way(EndLosses losses, const Assignment& from, bool smaller) {
  for (std::size_t i = 0; i < losses.size(); ++i) {
    for (std::size_t level = 0; level < losses[i].size(); ++level) {
      const auto at = static_cast<std::int16_t>(level);
      if (smaller ? at < from[i] : at > from[i]) losses[i][level] = std::numeric_limits<double>::infinity();
    }
  }
  return losses;
}

EndLosses parameters_gone(const SearchSpace& space) {
  EndLosses losses;
  for (const ModuleChoices& module : space.modules) {
    std::vector<double>& of_module = losses.emplace_back();
    for (const std::int64_t parameters : module.parameters)
      of_module.push_back(static_cast<double>(module.parameters.front() - parameters));
  }
  return losses;
}

/// The root's candidates on all ranks.
std::vector<Candidate> shared(const Communicator& comm, std::vector<Candidate> all, std::size_t modules) {
  std::vector<double> fitness;
  std::vector<std::int16_t> levels;
  for (const Candidate& one : all) {
    fitness.push_back(one.fitness);
    levels.insert(levels.end(), one.assignment.begin(), one.assignment.end());
  }
  comm.broadcast(fitness);
  comm.broadcast(levels);
  all.resize(fitness.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto first = levels.begin() + static_cast<std::ptrdiff_t>(i * modules);
    all[i] = {{first, first + static_cast<std::ptrdiff_t>(modules)}, fitness[i]};
  }
  return all;
}

/// The tokens on which islands were compared.
StageTokens compared_on(const SearchSetup& setup) {
  const EvolutionOptions& evolution = setup.options.evolution;
  return {comparison_draw(setup), draw_tokens(setup.pools.training, evolution.stages.back().training_tokens,
                                              stream(evolution.seed, 0, 0, 0, Draw::comparison_training))};
}

}  // namespace

std::vector<Assignment> moved_into(const SearchSpace& space, const Budget& budget, const Assignment& from,
                                   const EndLosses& losses, bool smaller) {
  EndLosses all = losses;
  if (all.empty() && space.has_end_losses())
    for (const ModuleChoices& module : space.modules) all.push_back(module.end_loss);
  if (all.empty()) all = parameters_gone(space);
  std::vector<Assignment> found;
  const auto add = [&](const EndLosses& some) {
    try {
      const Assignment moved = least_loss(space, budget, some);
      if (moved != from && std::find(found.begin(), found.end(), moved) == found.end())
        found.push_back(moved);
    } catch (const UsageError&) {  // there is none that way
    }
  };
  add(one_way(all, from, smaller));
  if (smaller) add(steps_first(all, from));
  return found;
}

std::vector<Assignment> TrueLatency::near(const Candidate& best, bool smaller, const End& end,
                                          const std::vector<Candidate>& others) const {
  std::optional<Budget> budget;
  try {
    budget = make_budget(setup_.space, asked_, goal_);
  } catch (const UsageError&) {  // nothing meets it, or everything does
    return {};
  }
  std::vector<Assignment> found = moved_into(setup_.space, *budget, best.assignment, end.near, smaller);
  for (const Candidate& other : others)
    if (smaller && other.assignment != best.assignment && budget->met_by(other.assignment) &&
        std::find(found.begin(), found.end(), other.assignment) == found.end())
      found.push_back(other.assignment);
  return found;
}

std::vector<double> TrueLatency::fitness_of(const Communicator& comm, const std::vector<Assignment>& all,
                                            const End& end) const {
  Evaluator evaluator = end.evaluator;
  evaluator.extra_items = 0;
  const StageTokens tokens = compared_on(setup_);
  std::vector<double> fitness;
  const auto ranks = static_cast<std::size_t>(comm.size());
  for (std::size_t first = 0; first < all.size(); first += ranks) {  // there is room for one on a rank
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    const std::vector<Assignment> some(
        begin, begin + static_cast<std::ptrdiff_t>(std::min(ranks, all.size() - first)));
    std::vector<double> of_some(some.size(), std::numeric_limits<double>::quiet_NaN());
    try {
      of_some = compare_assignments(comm, some, tokens, evaluator, end.interrupted, when, &end.times).fitness;
    } catch (const Error& error) {
      if (error.code() != ExitCode::numerical) throw;  // else none of them is finite, on all ranks
    }
    fitness.insert(fitness.end(), of_some.begin(), of_some.end());
  }
  return fitness;
}

void TrueLatency::record(const Communicator& comm, const End& end, const std::optional<Candidate>& moved,
                         const std::optional<WholeLatency>& timed, const Assignment& best) const {
  std::vector<double> extra;
  if (moved && end.evaluator.extra_items > 0)
    extra = compare_assignments(comm, {moved->assignment}, compared_on(setup_), end.evaluator,
                                end.interrupted, when, &end.times)
                .extra;
  agree_at_root(comm, [&] {
    const auto seconds = [](std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-9; };
    Json json;
    json["phase"] = name_of(asked_.phase());
    json["target"] = seconds(goal_.most);
    json["parts"] = seconds(goal_.costs.sum(best));
    if (timed) {
      json["whole"] = seconds(timed->whole);
      json["met"] = !too_slow(timed->whole);
      json["unpruned"] = {{"parts", seconds(goal_.unpruned->parts)},
                          {"whole", seconds(goal_.unpruned->whole)}};
    } else {
      json["expected"] = seconds(goal_.expected(best));  // with what the table says of whole models
      json["untimed"] = setup_.whole.untimed;
    }
    end.recorder->timed(json, moved, extra);
    if (!timed) return;
    const double share = 100 * (static_cast<double>(timed->whole) / static_cast<double>(goal_.most) - 1);
    const std::string said = fmt::format(
        "the best takes {} when timed whole ({}), {:.1f} % {} than the target of {}; the sum of its parts is "
        "{}",
        latency_text(timed->whole), name_of(asked_.phase()), std::abs(share), share > 0 ? "more" : "less",
        latency_text(goal_.most), latency_text(timed->parts));
    if (!too_slow(timed->whole)) return log_info("{}", said);
    log_warning(
        "{}: the target is missed, and none near it was found that meets it; ask for less, or time the table "
        "again where nothing else runs",
        said);
  });
}

void TrueLatency::meet(const Communicator& comm, const End& end) {
  if (!asked_.by_latency()) return;
  std::vector<Candidate> all;
  agree_at_root(comm, [&] { all = end.recorder->compared(); });
  all = shared(comm, std::move(all), setup_.space.modules.size());
  if (!setup_.whole.timing) return record(comm, end, std::nullopt, std::nullopt, all.front().assignment);
  // What was asked for, wherever the start lay. By a line through a model that was too slow it may be out of
  // reach: then the search has come as near as it can.
  const auto within_reach = [&](const std::optional<WholeLatency>& timed) {
    try {
      make_goal(comm, timed);
    } catch (const Error& error) {
      if (error.code() != ExitCode::usage) throw;  // so on all ranks
      return false;
    }
    return true;
  };
  within_reach(std::nullopt);
  struct Timed {
    Candidate candidate;
    WholeLatency took;
  };
  std::optional<Timed> met, fastest;
  std::vector<Assignment> seen;
  Candidate best = all.front();
  for (int round = 0; round < most_rounds; ++round) {
    const Timed now{best, [&] {
                      const PhaseScope timing(&end.times, "timing whole models");
                      return time(comm, best.assignment, "the best",
                                  (1 + fine_end) * static_cast<double>(goal_.most));
                    }()};
    seen.push_back(best.assignment);
    if (!fastest || now.took.whole < fastest->took.whole) fastest = now;
    const bool slow = too_slow(now.took.whole);
    if (!slow && (!met || best.fitness < met->candidate.fitness)) met = now;
    if (!slow && !leaves_room(now.took.whole)) break;
    if (!within_reach(now.took)) break;
    std::vector<Assignment> others = agree_on(comm, [&] { return near(best, slow, end, all); });
    std::erase_if(others, [&](const Assignment& one) {
      return std::find(seen.begin(), seen.end(), one) != seen.end();
    });
    const std::vector<double> fitness = fitness_of(comm, others, end);
    std::optional<Candidate> next;
    for (std::size_t i = 0; i < others.size(); ++i)
      if (std::isfinite(fitness[i]) && (!next || fitness[i] < next->fitness)) next = {others[i], fitness[i]};
    if (!next || (met && next->fitness >= met->candidate.fitness)) break;
    best = *next;
  }
  const Timed& chosen = met ? *met : *fastest;
  std::optional<Candidate> moved;
  if (chosen.candidate.assignment != all.front().assignment) moved = chosen.candidate;
  record(comm, end, moved, chosen.took, chosen.candidate.assignment);
}

void Recorder::timed(const Json& latency, const std::optional<Candidate>& best,
                     std::span<const double> extra) {
  manifest_["latency"] = latency;
  if (best) {
    const std::int64_t parameters = setup_.space.parameters(best->assignment);
    manifest_["best"]["fitness"] = best->fitness;
    manifest_["best"]["parameters"] = parameters;
    if (setup_.space.has_end_losses())
      manifest_["best"]["predicted"] = setup_.space.predicted_loss(best->assignment);
    std::string said;
    const Json perplexity = extra.empty() ? Json::object() : perplexities(extra);
    for (const auto& [name, value] : perplexity.items())
      said += fmt::format(", perplexity {:.4f} on {}", value.get<double>(), name);
    log_info("another takes the place of the best for the target: fitness {:.6g}, {} parameters{}",
             best->fitness, human_count(static_cast<std::uint64_t>(parameters)), said);
    folder_.write_best(to_text(setup_.space, best->assignment));
  }
  folder_.write_manifest(manifest_);
}

}  // namespace galapagos
