#include "recorder.hpp"

#include "records.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <sstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/version.hpp>

namespace galapagos {
namespace {

std::string count(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

/// An archive of whole lines, which may lack some of those that it began with.
void mend_archive(const RunFolder& folder, const std::string& begin) {
  const std::string found = folder.read_archive();
  std::istringstream lines(found);
  std::string text = begin;
  for (std::string line; std::getline(lines, line);) {
    if (Json::parse(line).value("generation", 0) > 0) text += line + "\n";
  }
  if (text != found) folder.write_text("archive.jsonl", text);
}

}  // namespace

void Recorder::learn(const std::string& levels, const Population& start) {
  folder_.write_levels(levels);
  folder_.save({setup_.identity, start, elapsed()});  // the time that it took so far
}

void Recorder::begin(const Population& start) {
  folder_.write_start(to_text(setup_.space, start.islands.front().elites.front().assignment));
  folder_.save({setup_.identity, start, elapsed()});
}

void Recorder::generation(const Population& population, std::span<const Migration> migrations) {
  std::vector<Json> lines;
  double best = INFINITY;
  for (std::size_t i = 0; i < population.islands.size(); ++i) {
    const IslandState& island = population.islands[i];
    const GenerationReport& report = population.reports[i];
    best = std::min(best, island.elites.front().fitness);
    Json line;
    line["generation"] = population.generation;
    line["island"] = i;
    line["evaluations"] = island.evaluations;
    line["tokens"] = island.tokens;
    line["training_tokens"] = island.training_tokens;
    line["best"] = island.elites.front().fitness;
    line["mean"] = report.mean;
    if (setup_.space.has_end_losses()) {
      line["predicted"] = {{"best", setup_.space.predicted_loss(island.elites.front().assignment)},
                           {"mean", report.predicted}};
      line["rank_correlation"] = report.ranks.correlation();
      line["surrogate_rank_correlation"] = report.surrogate_ranks.correlation();
    }
    line["improved"] = report.improved;
    line["immigrants"] = report.immigrants;
    line["seconds"] = {{"switch", report.seconds.switching},
                       {"training", report.seconds.training},
                       {"layers", report.seconds.layers},
                       {"head", report.seconds.head},
                       {"wait", report.wait_seconds}};
    line["elapsed"] = elapsed();
    lines.push_back(std::move(line));
  }
  folder_.append_metrics(lines);
  folder_.append_candidates(setup_.space, population);
  folder_.append_migrations(population, migrations);
  folder_.save({setup_.identity, population, elapsed()});
  if (take_checkpoint_request())
    log_info("generation {} is saved, as asked for by SIGUSR1", population.generation);
  if (!progress_)  // here, so that what came before the first generation is not in its time
    progress_.emplace("generations", setup_.options.evolution.generations, generations_before_);
  progress_->advance(1, fmt::format("best {:.5g}", best));
}

Json Recorder::perplexities(std::span<const double> extra) const {
  Json found = Json::object();
  for (std::size_t set = 0; set < setup_.eval_sets.size(); ++set) {
    double nll = 0, tokens = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (parts_[i].set != set) continue;
      const auto predicted = static_cast<double>(parts_[i].draw.predicted());
      nll += extra[i] * predicted;
      tokens += predicted;
    }
    found[setup_.options.eval_data[set].string()] = std::exp(nll / tokens);
  }
  return found;
}

void Recorder::begin_manifest(const Population& population) {
  std::int64_t evaluations = 0;
  ranks_so_far_ = surrogate_ranks_so_far_ = {};
  for (const IslandState& island : population.islands) {
    evaluations += island.evaluations;
    ranks_so_far_ += island.ranks;
    surrogate_ranks_so_far_ += island.surrogate_ranks;
  }
  Json& manifest = manifest_;
  manifest["tool_version"] = version_with_revision();
  manifest["command"] = "search";
  manifest["started"] = started_;
  manifest["ranks"] = ranks_;
  manifest["shards"] = setup_.options.shards;
  manifest["islands"] = setup_.options.evolution.islands;
  manifest["seed"] = setup_.options.evolution.seed;
  manifest["strategy"] = name_of(setup_.options.evolution.strategy);
  manifest["start"] = setup_.start_name;
  manifest["options"] = Json::parse(setup_.identity);
  manifest["model"] = setup_.options.model.string();
  manifest["database"] = setup_.options.database.string();
  manifest["generations"] = population.generation;
  manifest["evaluations"] = evaluations;
  manifest["seconds"] = elapsed();
  if (!choices_.is_null()) manifest["choices"] = choices_;
}

void Recorder::comparison(const Population& population, const Comparison& comparison) {
  const std::size_t best = comparison.best();
  const Assignment& winner = population.islands[best].elites.front().assignment;
  compared_.clear();
  for (std::size_t i = 0; i < population.islands.size(); ++i)
    compared_.push_back({population.islands[i].elites.front().assignment, comparison.fitness[i]});
  std::swap(compared_.front(), compared_[best]);
  Json line;
  line["generation"] = population.generation;
  line["comparison"] = comparison.fitness;
  line["best_island"] = best;
  line["fitness"] = comparison.fitness[best];
  const Json perplexity = perplexities(comparison.extra);
  std::string said;
  for (const auto& [name, value] : perplexity.items()) {
    line["perplexity"][name] = value;
    said += fmt::format(", perplexity {:.4f} on {}", value.get<double>(), name);
  }
  folder_.append_metrics({line});
  const std::int64_t parameters = setup_.space.parameters(winner);
  const std::int64_t dense = setup_.space.fixed_parameters + setup_.space.dense_parameters();
  log_info("generation {}: best fitness {:.6g} on {} tokens, island {}, {} of {} parameters{}",
           population.generation, comparison.fitness[best], count(setup_.options.evolution.compare_tokens),
           best, count(parameters), count(dense), said);
  begin_manifest(population);
  manifest_["best"] = {{"fitness", comparison.fitness[best]},
                       {"island", best},
                       {"parameters", parameters},
                       {"dense_parameters", dense}};
  if (setup_.space.has_end_losses()) {
    manifest_["best"]["predicted"] = setup_.space.predicted_loss(winner);
    manifest_["rank_correlation"] = ranks_so_far_.correlation();
    manifest_["surrogate_rank_correlation"] = surrogate_ranks_so_far_.correlation();
  }
  folder_.write_best(to_text(setup_.space, winner));
  folder_.write_manifest(manifest_);
}

void Recorder::finish(const RunReport& report) {
  report.add_to(manifest_);
  folder_.write_manifest(manifest_);
  if (ranks_so_far_.count == 0) return;
  log_info(
      "rank correlation of predicted and measured losses: {:.4f}, of the surrogate's {:.4f}, over {} "
      "evaluations of first stages, each generation of an island ranked by itself",
      ranks_so_far_.correlation(), surrogate_ranks_so_far_.correlation(), count(ranks_so_far_.count));
}

std::optional<SearchCheckpoint> open_run(const Communicator& comm, const RunFolder& folder,
                                         const SearchSetup& setup, const Strategy& strategy, Found found) {
  SearchCheckpoint start;
  bool ended = false;
  std::int64_t generation = 0;
  agree_at_root(comm, [&] {
    if (found != Found::nothing) {
      start = folder.resume(setup.space, setup.identity, setup.options.evolution.islands);
      const std::int64_t done = start.population.generation;
      ended = done >= setup.options.evolution.generations && folder.ended_after(done);
      if (ended) return log_info("{} is complete already, generation {}", folder.path().string(), done);
      if (setup.options.evolution.strategy == StrategyKind::racing) {
        folder.mend_races(setup.options.evolution.racing.lag);
        mend_archive(folder, setup.archive.text());
      } else {
        folder.rewind(done);
      }
      log_info("goes on from {}, generation {}; --fresh begins anew", folder.path().string(), done);
    } else {
      if (setup.options.fresh) folder.clear(false);
      folder.begin(setup.options.config_ini);
      if (!setup.timed.empty()) folder.write_text("latency.csv", setup.timed);
      if (setup.options.evolution.strategy == StrategyKind::racing)
        folder.append_archive(setup.archive.text());
      start = {setup.identity, first_population(setup, strategy), 0};
      folder.write_uniform(to_text(setup.space, setup.budgets.front().uniform()));
      folder.write_start(to_text(setup.space, start.population.islands.front().elites.front().assignment));
      folder.save(start);
    }
    generation = start.population.generation;
  });
  if (comm.broadcast_value<char>(ended ? 1 : 0) != 0) return std::nullopt;
  std::vector<std::byte> records;
  if (comm.is_root()) records = pack(start.population);
  comm.broadcast(records);
  start.population =
      unpack(records, setup.space.modules.size(), static_cast<std::size_t>(setup.options.evolution.islands));
  start.population.generation = comm.broadcast_value(generation);
  return start;
}

}  // namespace galapagos
